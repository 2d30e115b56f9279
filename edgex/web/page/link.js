// The connection to the server: state in, settings out; comes back by itself, later and later, when it breaks.
const LONGEST_MS = 8000;
const SILENT_MS = 6000; // the server speaks at least once a second
const PAUSE_MS = 80; // between two messages of a slider that is dragged

export class Link {
  constructor({ onState, onError, onStatus }) {
    Object.assign(this, { onState, onError, onStatus });
    this.tries = 0;
    this.pending = {};
    this.sentMs = 0;
    this.open();
    setInterval(() => this.watch(), 1000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  get isOpen() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    this.heardMs = performance.now();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.socket = socket;
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.heardMs = performance.now();
      const message = JSON.parse(event.data);
      if (message.type === "error") this.onError(message.message);
      if (message.type !== "state") return;
      if (this.tries >= 0) {
        this.tries = -1;
        this.onStatus(true, 0);
      }
      this.onState(message);
    };
    socket.onopen = () => { socket.wasOpen = true; };
    socket.onclose = () => {
      if (!socket.wasOpen) this.signInIfAsked();
      if (this.socket === socket) this.later();
    };
  }

  // A browser does not tell why a WebSocket was refused. After a restart with another token, the page is the form.
  async signInIfAsked() {
    const answer = await fetch("/api/state", { signal: AbortSignal.timeout(SILENT_MS) }).catch(() => null);
    if (answer?.status === 401) location.reload();
  }

  later() {
    this.socket = null;
    this.tries = Math.max(0, this.tries) + 1;
    const waitMs = Math.min(LONGEST_MS, 400 * 2 ** Math.min(8, this.tries - 1)) * (0.75 + Math.random() / 2);
    this.onStatus(false, waitMs);
    this.timer = setTimeout(() => this.open(), waitMs);
  }

  retryNow() {
    if (this.timer !== null) this.open();
  }

  watch() {
    if (this.socket === null || performance.now() - this.heardMs < SILENT_MS) return;
    const socket = this.socket;
    this.later(); // a network that went away closes nothing: do not wait for the system to notice
    socket.close();
  }

  // Sends settings; of several within a moment only the last values.
  change(fields) {
    Object.assign(this.pending, fields);
    if (this.flushing) return;
    this.flushing = setTimeout(() => {
      this.flushing = null;
      this.sentMs = performance.now();
      if (this.isOpen) this.socket.send(JSON.stringify(this.pending));
      this.pending = {};
    }, Math.max(0, this.sentMs + PAUSE_MS - performance.now()));
  }
}
