// The site's search is a worker, which browsers refuse to a page that was opened as a file. There an invisible frame
// does the same work. Material's `offline` plugin would fetch a script for that from the network.
if (location.protocol === "file:") {
  const run = (inside, address) =>
    new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${address} cannot be read`));
      inside.document.head.append(script);
    });

  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "";
      this.inside = new Promise((resolve) => (frame.onload = () => resolve(frame.contentWindow))).then(async (inside) => {
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        inside.importScripts = (...addresses) =>
          addresses.reduce((before, next) => before.then(() => run(inside, next)), Promise.resolve());
        await run(inside, address);
        return inside;
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.inside.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
  };
}
