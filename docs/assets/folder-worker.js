// Worker for pages that are opened from a folder, where browsers permit no worker: its script runs in a hidden frame.
// In place of the shim that the theme would load from elsewhere; the search of the site needs no more of a worker.
window.IFrameWorker = class extends EventTarget {
  constructor(url) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    const inner = frame.contentWindow;
    inner.document.open();
    inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    const script = inner.document.createElement("script");
    this.ready = new Promise((resolve) => script.addEventListener("load", resolve));
    script.src = String(url);
    inner.document.append(inner.document.createElement("html"));
    inner.document.documentElement.append(script);
    inner.document.close();
    this.inner = inner;
  }

  postMessage(data) {
    this.ready.then(() => this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data })));
  }
};
if (location.protocol === "file:") window.Worker = window.IFrameWorker;
