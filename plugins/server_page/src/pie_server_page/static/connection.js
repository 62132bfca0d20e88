// The connection to the server: its WebSocket protocol (docs/operations.md), made again when it breaks.

import { Refused, ask, key } from "./http.js";
import { absence } from "./words.js";

const SOONEST_MS = 500;
const LATEST_MS = 10000;

export class Connection {
  #socket = null;
  #number = 0;
  #waiting = new Map(); // replies, by number of the request
  #listeners = new Map(); // by inferlet
  #early = new Map(); // events that came before their listener
  #delay = SOONEST_MS;
  #timer = 0;
  #told;

  /** told(text, well): how the connection is. */
  constructor(told) {
    this.#told = told;
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const address = new URL("/v1/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    let socket;
    try {
      socket = key() ? new WebSocket(address, ["pie", `pie-key.${key()}`]) : new WebSocket(address);
    } catch {
      this.#told("The API key has characters that no key has.", false);
      return;
    }
    this.#socket = socket;
    socket.addEventListener("open", () => this.#hello(socket));
    socket.addEventListener("message", (event) => this.#take(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.#closed(socket, event));
  }

  /** The reply to a request. Throws `Refused`. */
  request(type, fields = {}) {
    if (!this.open) return Promise.reject(new Refused(0, "away", "There is no connection to the server."));
    const number = ++this.#number;
    this.#socket.send(JSON.stringify({ type, request: number, ...fields }));
    return new Promise((resolve, reject) => this.#waiting.set(number, { resolve, reject }));
  }

  /** Has `take(event)` called with what comes from an inferlet, and with `null` if the connection breaks before its end. */
  listen(id, take) {
    this.#listeners.set(id, take);
    for (const event of this.#early.get(id) ?? []) this.#pass(id, event);
    this.#early.delete(id);
  }

  async #hello(socket) {
    try {
      const welcome = await this.request("hello", { protocol: 1 });
      this.#delay = SOONEST_MS;
      this.#told(`Connected: ${welcome.models.join(", ")}, pie-core ${welcome.server}`, true);
    } catch (error) {
      if (socket === this.#socket && error.code !== "away") this.#told(error.message, false);
    }
  }

  #take(message) {
    if (message.type === "event") {
      if (this.#listeners.has(message.id)) this.#pass(message.id, message.event);
      else this.#early.set(message.id, [...(this.#early.get(message.id) ?? []), message.event]);
      return;
    }
    const waiting = this.#waiting.get(message.request);
    this.#waiting.delete(message.request);
    if (message.type === "error") {
      const refused = new Refused(400, message.code, message.message);
      if (waiting) waiting.reject(refused);
      else this.#told(message.message, false);
    } else {
      waiting?.resolve(message);
    }
  }

  #pass(id, event) {
    const take = this.#listeners.get(id);
    if (event?.type === "ended") this.#listeners.delete(id);
    take?.(event);
  }

  async #closed(socket, event) {
    if (socket !== this.#socket) return;
    const lost = new Refused(0, "away", "The connection to the server broke.");
    for (const { reject } of this.#waiting.values()) reject(lost);
    this.#waiting.clear();
    const left = [...this.#listeners.values()];
    this.#listeners.clear();
    this.#early.clear();
    this.#told("The connection broke.", false); // why, is not known yet
    for (const take of left) take(null);
    const wait = this.#delay * (0.75 + Math.random() / 2);
    this.#delay = Math.min(LATEST_MS, this.#delay * 2);
    this.#timer = setTimeout(() => this.connect(), wait);
    const why = await this.#reason(event);
    if (socket === this.#socket) this.#told(`${why} Trying again in ${Math.max(1, Math.round(wait / 1000))} s.`, false);
  }

  /** A browser does not tell why it got no connection; plain HTTP does. */
  async #reason(event) {
    if (event.reason && event.code !== 1013) return `The server closed the connection: ${event.reason}.`;
    try {
      await ask("/readyz");
      await ask("/page/programs");
      return "The connection broke.";
    } catch (error) {
      return `${absence(error.status, error.message).replace(/\.$/, "")}.`;
    }
  }
}
