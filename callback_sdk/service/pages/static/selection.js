// Selected rows: select a page at once, count them, and don't replace a list while something in it is selected.
(() => {
  "use strict";
  const boxes = () => [...document.querySelectorAll("input[name='selected']")];

  const count = () => {
    const selected = boxes().filter((box) => box.checked).length;
    for (const place of document.querySelectorAll("[data-selected-count]")) place.textContent = ` (${selected})`;
    for (const all of document.querySelectorAll("input[data-select-all]")) {
      all.checked = selected > 0 && selected === boxes().length;
      all.indeterminate = selected > 0 && !all.checked;
    }
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("input[data-select-all]")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    count();
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    const list = event.target.closest("[data-list]");
    if (list && boxes().some((box) => box.checked && list.contains(box))) event.preventDefault();
  });

  const show = () => {
    for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
    count();
  };
  document.addEventListener("htmx:afterSwap", show);
  document.addEventListener("DOMContentLoaded", show);
  // The browser restores check marks when it goes back.
  window.addEventListener("pageshow", count);
})();
