// A slider for each row of pictures that belong on top of each other; without this script the strips say it all.
// The prediction (the last picture) lies on the image, half to be seen through; further on come the pictures between.
for (const row of document.querySelectorAll(".row")) {
  const [image, ...others] = row.querySelectorAll(".strip figure");
  if (!others.length) continue;
  const figures = [image, others.pop(), ...others];
  const names = figures.map((figure) => figure.querySelector("figcaption").textContent);
  const stack = document.createElement("div");
  stack.className = "stack";
  const pictures = figures.map((figure) => stack.appendChild(figure.querySelector("img").cloneNode()));
  pictures.slice(1).forEach((picture) => picture.setAttribute("aria-hidden", "true"));
  const range = document.createElement("input");
  Object.assign(range, { type: "range", min: 0, max: pictures.length - 1, step: 0.1, value: 0.5 });
  range.setAttribute("aria-label", `Fade ${row.querySelector("h3").firstChild.textContent.trim()} through ${names.join(", ")}`);
  const shown = document.createElement("output");
  const show = () => {
    const value = Number(range.value), below = Math.floor(value), above = Math.ceil(value);
    pictures.forEach((picture, i) => { if (i) picture.style.opacity = Math.min(1, Math.max(0, value - i + 1)); });
    shown.textContent = below === above ? names[above] : `${names[above]} over ${names[below]}`;
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
