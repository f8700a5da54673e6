// A rating as a group of radio buttons, which look like stars; of many levels, as a list to choose from.

import { element } from "./api.js";

const MOST_STARS = 7;
let groups = 0;

/** Controls for one item. `chosen(rating)` is called at each change. */
export function stars(title, scale, rating, chosen) {
  if (scale.length > MOST_STARS) {
    const select = element("select", { ariaLabel: `Rating of ${title}` });
    select.append(element("option", { value: "", textContent: "not rated", disabled: true }));
    for (const level of [...scale].reverse()) {
      select.append(element("option", { value: level, textContent: level }));
    }
    select.value = rating ?? "";
    select.addEventListener("change", () => chosen(Number(select.value)));
    return select;
  }
  const name = `stars-${groups++}`;
  const group = element("fieldset", { className: "stars" });
  group.append(element("legend", { className: "hidden", textContent: `Rating of ${title}` }));
  for (const level of scale) {
    const input = element("input", {
      type: "radio",
      name,
      value: level,
      checked: level === rating,
      className: "hidden",
      ariaLabel: `${level} of ${scale.at(-1)}`,
    });
    input.addEventListener("change", () => chosen(level));
    const label = element("label", { title: `${level} of ${scale.at(-1)}` }, input);
    label.append(element("span", { textContent: "★", ariaHidden: "true" }));
    group.append(label);
  }
  return group;
}

/** Show another rating, or none, on controls that `stars` made. */
export function show(controls, rating) {
  if (controls.tagName === "SELECT") controls.value = rating ?? "";
  else for (const input of controls.querySelectorAll("input")) {
    input.checked = Number(input.value) === rating;
  }
}
