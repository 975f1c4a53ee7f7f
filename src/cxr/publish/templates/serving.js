addEventListener("DOMContentLoaded", () => {
  const token = new URLSearchParams(location.search).get("token");
  const answers = document.getElementById("answers"), status = document.getElementById("status");
  const chooser = document.getElementById("films"), drop = document.getElementById("drop");
  const card = document.getElementById("card");
  const largest = Number(answers.dataset.largest), waiting = [];
  let number = 0, working = false;

  const button = (words, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = words;
    made.addEventListener("click", act);
    return made;
  };

  const download = (name, report) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([report], {type: "text/html"}));
    link.download = `${name.replace(/\.[^.]*$/, "")}-report.html`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };

  // A film's section with what can be done to it; `report` is the whole page that came.
  const show = (section, name, report) => {
    const actions = document.createElement("div");
    actions.className = "film-actions";
    if (report) actions.append(button("Download report", () => download(name, report)));
    actions.append(button("Model card", () => {
      card.open = true;
      card.scrollIntoView();
      card.firstElementChild.focus();
    }));
    actions.append(button("Remove", () => {
      section.remove();
      chooser.focus();
    }));
    section.querySelector(".verdict").after(actions);
    answers.prepend(section);
    startFilm(section);
  };

  const refused = (name, words) => {
    const section = document.createElement("section"), title = document.createElement("h2");
    const verdict = document.createElement("p"), strong = document.createElement("strong");
    section.className = "film";
    title.textContent = name;
    verdict.className = "verdict refused";
    strong.textContent = "Refused. ";
    verdict.append(strong, words);
    section.append(title, verdict);
    show(section, name, "");
  };

  const ask = async (file) => {
    if (file.size > largest) return refused(file.name,
      `This file is larger than the ${largest / 1048576} MB that the page takes.`);
    const query = new URLSearchParams({name: file.name, number: ++number});
    // Read before it is sent: a folder, or a file that is gone, says so here.
    const body = await file.arrayBuffer();
    const answer = await fetch(`film?${query}`, {method: "POST", headers: {"X-Token": token}, body});
    const text = await answer.text();
    if (!answer.ok) return refused(file.name, text || "The server has no place for it; try again.");
    const section = new DOMParser().parseFromString(text, "text/html").querySelector(".film");
    show(document.adoptNode(section), file.name, text);
  };

  const work = async () => {
    if (working) return;
    working = true;
    for (let done = 1; waiting.length; done++) {
      const file = waiting.shift();
      status.textContent = `Reading ${file.name}; ${waiting.length} more to come.`;
      try {
        await ask(file);
      } catch (error) {
        refused(file.name, error.name === "TypeError"
          ? "The server did not answer: it is busy, or no longer running." : "The file cannot be read.");
      }
      status.textContent = `Read: ${done} of ${done + waiting.length}. The newest stands first.`;
    }
    working = false;
  };

  const add = (files) => {
    waiting.push(...files);
    work();
  };

  chooser.addEventListener("change", () => {
    add(chooser.files);
    chooser.value = "";
  });
  for (const kind of ["dragenter", "dragover"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
  document.getElementById("choose").addEventListener("click", async (event) => {
    const place = event.target.dataset.example;
    if (place === undefined) return;
    try {
      const answer = await fetch(`example/${place}`, {headers: {"X-Token": token}});
      if (!answer.ok) throw new Error(await answer.text());
      add([new File([await answer.blob()], `${event.target.textContent} (drawing).png`)]);
    } catch {
      status.textContent = "The server did not answer: it is busy, or no longer running.";
    }
  });
});
