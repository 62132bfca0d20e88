// Plain requests, with the API key if there is one.

const STORED = "pie-key";
const memory = new Map(); // where the browser keeps nothing

export function key() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return memory.get(STORED) ?? "";
  }
}

export function keepKey(value) {
  try {
    if (value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  } catch {
    memory.set(STORED, value);
  }
}

export class Refused extends Error {
  /** status: of HTTP; 0 if nothing answered. later: in how many seconds to ask again, if the server has said so. */
  constructor(status, code, message, later = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.later = later;
  }
}

/** What the server answers, from JSON. Throws `Refused`. */
export async function ask(path) {
  let response;
  try {
    const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
    response = await fetch(path, { headers, cache: "no-store" });
  } catch {
    throw new Refused(0, "away", "The server does not answer.");
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    throw new Refused(response.status, "protocol", `${path} gave no JSON`);
  }
  if (response.ok) return answer;
  const error = answer?.error ?? {};
  const later = Number(response.headers.get("Retry-After")) || 0;
  throw new Refused(response.status, error.code ?? "error", error.message ?? response.statusText, later);
}
