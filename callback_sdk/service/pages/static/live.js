// Progress and output of a running task, by server-sent events.
(() => {
  "use strict";
  const MAX_CHARACTERS = 64 * 1024;
  const PATIENCE = 5000;
  // Control characters and marks that change the writing direction, as the service replaces them in pages.
  const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
  let source = null;

  const plain = (text) => text.replace(UNSAFE, (mark) => {
    const code = mark.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });

  const close = () => {
    if (source) source.close();
    source = null;
  };

  const refresh = (task) => {
    close();
    window.htmx.trigger(task, "refresh");
  };

  const showProgress = (task, progress) => {
    const bar = task.querySelector("progress");
    const text = task.querySelector("[data-progress]");
    if (!bar || !text) return;
    if (progress.fraction === null) bar.removeAttribute("value");
    else bar.value = progress.fraction;
    const percent = progress.fraction === null ? "" : `${Math.floor(progress.fraction * 100)} % `;
    text.textContent = percent + plain(progress.message.slice(0, 2000));
  };

  const showOutput = (task, text) => {
    const section = task.querySelector("[data-output]");
    const output = section && section.querySelector("pre");
    if (!output) return;
    section.hidden = false;
    const follows = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    output.textContent = (output.textContent + plain(text)).slice(-MAX_CHARACTERS);
    if (follows) output.scrollTop = output.scrollHeight;
  };

  // Browsers allow six connections to a server: a hidden page has none.
  const connect = () => {
    close();
    const task = document.querySelector("#task[data-events]");
    if (!task || document.hidden) return;
    source = new EventSource(`${task.dataset.events}?after=${encodeURIComponent(task.dataset.position)}`);
    source.addEventListener("status", (event) => {
      const state = JSON.parse(event.data);
      if (state.status === task.dataset.status) showProgress(task, state.progress);
      else refresh(task);
    });
    source.addEventListener("output", (event) => {
      task.dataset.position = event.lastEventId;
      showOutput(task, JSON.parse(event.data).text);
    });
    source.addEventListener("end", () => refresh(task));
    source.addEventListener("error", () => {
      // The browser reconnects by itself unless the service has rejected the stream.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(() => refresh(task), PATIENCE);
      }
    });
  };

  document.addEventListener("htmx:afterSwap", connect);
  document.addEventListener("visibilitychange", connect);
  document.addEventListener("DOMContentLoaded", connect);
  window.addEventListener("pageshow", (event) => event.persisted && connect());
  window.addEventListener("pagehide", close);
})();
