// Starts the live demo where a server gives this page; opened from disk, a page may fetch neither modules nor models, so it says what
// to do and shows a stored example instead. A classic script, because those are run everywhere.
(() => {
  "use strict";
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const demo = document.getElementById("demo");
  const note = document.getElementById("demo-note");

  function fail(error) {
    document.getElementById("demo-status").textContent = `The demo could not be started: ${error?.message ?? error}`;
    demo.dataset.state = "broken";
  }

  function explain() {
    demo.dataset.state = "from-disk";
    // The page lies in the book's folder book/, so the book is two steps up.
    const path = decodeURIComponent(location.pathname).replace(/^\/([A-Za-z]:)/, "$1");
    const [, root, page] = path.match(/^(.*)\/([^/]+\/[^/]+)$/);
    const quoted = /^[\w./:-]+$/.test(root) ? root : `"${root}"`;
    note.querySelector("code").textContent = `python -m http.server --bind 127.0.0.1 --directory ${quoted}`;
    note.querySelector("a").href = note.querySelector("a").textContent = `http://127.0.0.1:8000/${page}`;
    note.hidden = false;
    for (const name of ["source", "style", "teacher", "student"]) {
      const picture = new Image();
      const figure = document.getElementById(`demo-${name}`);
      picture.onload = () => {
        const canvas = figure.querySelector("canvas");
        [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
        canvas.getContext("2d").drawImage(picture, 0, 0);
        figure.dataset.state = "ready";
      };
      picture.src = `${folder}../models/example_${name}.png`;
    }
  }

  if (location.protocol === "file:") explain();
  else import(`${folder}demo.js`).then(({ start }) => start(demo, new URL("..", folder).href)).catch(fail);
})();
