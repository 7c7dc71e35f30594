// Times in the browser's time zone. Without JavaScript they are in UTC, and say so.
(() => {
  "use strict";
  const pad = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const minute = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}`;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

  const showTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.title = time.textContent;
      time.textContent = `${day(at)} ${minute(at)}:${pad(at.getSeconds())}`;
    }
  };

  // Filters are sent in UTC, so that a link shows the same to everybody.
  const useLocalFilters = (root) => {
    for (const input of root.querySelectorAll("input[type='datetime-local']:not([data-local])")) {
      input.dataset.local = "true";
      const at = new Date(`${input.value}Z`);
      if (input.value && !Number.isNaN(at.getTime())) input.value = `${day(at)}T${minute(at)}`;
      for (const label of input.labels) {
        for (const name of label.querySelectorAll(".zone")) name.textContent = `(${zone})`;
      }
    }
  };

  document.addEventListener("formdata", (event) => {
    for (const input of event.target.querySelectorAll("input[data-local]")) {
      const at = new Date(input.value);
      if (input.value && !Number.isNaN(at.getTime())) event.formData.set(input.name, at.toISOString().slice(0, 16));
    }
    if (event.target.method !== "get") return;
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });

  const show = (root) => {
    showTimes(root);
    useLocalFilters(root);
  };
  document.addEventListener("htmx:afterSwap", () => show(document));
  document.addEventListener("DOMContentLoaded", () => {
    show(document);
    const note = document.getElementById("zone");
    if (note && document.querySelector("time")) {
      const hint = zone === "UTC" ? "" : " Point at a time to see it in UTC.";
      note.textContent = `Times are in ${zone}.${hint}`;
    }
  });
})();
