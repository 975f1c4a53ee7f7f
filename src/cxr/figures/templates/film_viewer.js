addEventListener("DOMContentLoaded", () => {
  for (const film of document.querySelectorAll(".film")) {
    const panel = film.querySelector(".film-controls");
    if (!panel) continue;
    panel.hidden = false;
    const controls = [...panel.querySelectorAll("input")];
    const frame = film.querySelector(".film-frame"), stage = film.querySelector(".film-stage");
    const heat = film.querySelector(".film-heat"), shown = film.querySelector(".film-shown b");
    const value = (name) => controls.find((one) => one.dataset.control === name)?.valueAsNumber;
    const draw = () => {
      // The window's centre becomes middle grey, its width runs from black to white.
      const slope = 255 / value("width"), intercept = 0.5 - (value("level") / 255) * slope;
      const plain = value("width") === 255 && value("level") === 128;
      for (const part of film.querySelectorAll("feComponentTransfer > *")) {
        part.setAttribute("slope", plain ? 1 : slope);
        part.setAttribute("intercept", plain ? 0 : intercept);
      }
      if (heat) heat.style.opacity = value("heat") / 100;
      const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
      const grown = value("zoom") / (parseFloat(stage.style.width) || 100);
      stage.style.width = value("zoom") + "%";
      if (grown !== 1)
        frame.scrollTo(middle[0] * grown - frame.clientWidth / 2, middle[1] * grown - frame.clientHeight / 2);
      for (const one of controls) one.previousElementSibling.textContent = one.value;
    };
    panel.addEventListener("input", draw);
    panel.querySelector("button").addEventListener("click", () => {
      for (const one of controls) one.value = one.defaultValue;
      draw();
    });
    film.addEventListener("change", (event) => {
      if (!event.target.dataset.heat) return;
      heat.src = event.target.dataset.heat;
      shown.textContent = event.target.value;
    });
    draw();
  }
});
