// What goes wrong, in words.

const ADVICE = {
  busy: "The server has no room for another program now. Try again in a moment.",
  resource: "The server lacks the room or the right for it now.",
  trait: "The model that is served cannot do what the program needs.",
  program: "The program was refused.",
  argument: "The server did not accept an argument.",
  capability: "The server does not allow that to programs.",
  protocol: "This page and the server do not understand each other; reload the page.",
  quota: "You have used up what your user may use.",
  key: "The server wants a valid API key: enter yours under “API key”.",
};

/** An error of the server: its own words, and what they mean for whoever reads them. */
export function explain(code, message) {
  const advice = ADVICE[code];
  return advice ? `${advice}\n${message}` : message;
}

export const ENDINGS = {
  finished: "Finished",
  failed: "Failed",
  stopped: "Stopped",
  terminated: "Ended by the server",
};

/** Why there is no connection. status: of an HTTP request, 0 if it was not answered at all. */
export function absence(status, message) {
  if (status === 401 || status === 403) return explain("key", message);
  if (status === 503) return `The server is not ready: ${message}`;
  if (status === 429) return explain("quota", message);
  if (status === 0) return "The server does not answer.";
  return message || `The server answered with status ${status}.`;
}
