// Positions of the prevalence slider; at the first, words stay as they were written.
const PREVALENCES = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5];

// What a threshold means where so large a share of films has the finding: `in_words` of
// cxr.evaluation.thresholding, in the words that it wrote itself.
const restate = (film, share) => {
  for (const row of film.querySelectorAll("[data-with]")) {
    row.dataset.said ??= row.textContent;
    const having = row.dataset.with * share;
    const such = having + row.dataset.without * (1 - share);
    const count = such ? ((100 * having) / such).toFixed(0) : "none";
    const words = `about ${count} have it, where ${Number((100 * share).toPrecision(2))}\u00a0% of films do`;
    row.textContent = share
      ? row.dataset.said.replace(/about .*? of films do(, as among the test films)?/, words)
      : row.dataset.said;
  }
};

const startPrevalence = (film) => {
  const label = film.querySelector(".film-prevalence"), slider = label?.querySelector("input");
  if (!slider) return;
  label.hidden = false;
  slider.max = PREVALENCES.length - 1;
  slider.addEventListener("input", () => {
    const share = PREVALENCES[slider.valueAsNumber];
    label.querySelector("output").textContent =
      share ? `${Number((100 * share).toPrecision(2))}\u00a0%` : "as stated";
    slider.setAttribute("aria-valuetext", label.querySelector("output").textContent);
    restate(film, share);
  });
};

// Brings one film to life: those of a page when it is there, later ones when they are added.
const startFilm = (film) => {
  startPrevalence(film);
  const panel = film.querySelector(".film-controls");
  if (!panel) return;
  panel.hidden = false;
  const controls = [...panel.querySelectorAll("input")];
  const frames = [...film.querySelectorAll(".film-frame")];
  // The first one is the model's, the other one its untrained twin's, where there is one.
  const heats = [...film.querySelectorAll(".film-heat")], shown = film.querySelector(".film-shown b");
  const value = (name) => controls.find((one) => one.dataset.control === name)?.valueAsNumber;
  const draw = () => {
    // The window's centre becomes middle grey, its width runs from black to white.
    const slope = 255 / value("width"), intercept = 0.5 - (value("level") / 255) * slope;
    const plain = value("width") === 255 && value("level") === 128;
    for (const part of film.querySelectorAll("feComponentTransfer > *")) {
      part.setAttribute("slope", plain ? 1 : slope);
      part.setAttribute("intercept", plain ? 0 : intercept);
    }
    for (const heat of heats) heat.style.opacity = value("heat") / 100;
    for (const frame of frames) {
      const stage = frame.firstElementChild;
      const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
      const grown = value("zoom") / (parseFloat(stage.style.width) || 100);
      stage.style.width = value("zoom") + "%";
      if (grown !== 1)
        frame.scrollTo(middle[0] * grown - frame.clientWidth / 2, middle[1] * grown - frame.clientHeight / 2);
    }
    for (const one of controls) one.previousElementSibling.textContent = one.value;
  };
  // Film and twin show the same place.
  for (const frame of frames)
    frame.addEventListener("scroll", () => {
      for (const other of frames) other.scrollTo(frame.scrollLeft, frame.scrollTop);
    });
  panel.addEventListener("input", draw);
  panel.querySelector("button").addEventListener("click", () => {
    for (const one of controls) one.value = one.defaultValue;
    draw();
  });
  film.addEventListener("change", (event) => {
    if (!event.target.dataset.heat) return;
    heats[0].src = event.target.dataset.heat;
    if (heats[1]) heats[1].src = event.target.dataset.twin;
    shown.textContent = event.target.value;
  });
  draw();
};

addEventListener("DOMContentLoaded", () => document.querySelectorAll(".film").forEach(startFilm));
