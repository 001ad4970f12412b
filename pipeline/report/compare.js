// A slider for each row of pictures that belong on top of each other; without this script the strips say it all.
for (const row of document.querySelectorAll(".row")) {
  const figures = [...row.querySelectorAll(".strip figure")];
  if (figures.length < 2) continue;
  const names = figures.map((figure) => figure.querySelector("figcaption").textContent);
  const stack = document.createElement("div");
  stack.className = "stack";
  const pictures = figures.map((figure) => stack.appendChild(figure.querySelector("img").cloneNode()));
  pictures.slice(1).forEach((picture) => picture.setAttribute("aria-hidden", "true"));
  const range = document.createElement("input");
  Object.assign(range, { type: "range", min: 0, max: pictures.length - 1, step: 0.1, value: 0 });
  range.setAttribute("aria-label", `Fade ${row.querySelector("h3").firstChild.textContent.trim()} through ${names.join(", ")}`);
  const shown = document.createElement("output");
  const show = () => {
    pictures.forEach((picture, i) => { if (i) picture.style.opacity = Math.min(1, Math.max(0, range.value - i + 1)); });
    shown.textContent = names[Math.round(range.value)];
    range.setAttribute("aria-valuetext", shown.textContent);
  };
  range.addEventListener("input", show);
  const box = document.createElement("div");
  box.className = "compare";
  box.append(stack, range, shown);
  row.querySelector(".strip").before(box);
  row.classList.add("compared");
  show();
}
