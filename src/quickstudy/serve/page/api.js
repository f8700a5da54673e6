// The service's endpoints: JSON in and out, and one kind of error.

const KEY = "quickstudy.token";

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0 if there was no answer
  }
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** Send a request: GET, or POST if there is a body. */
export async function api(path, body, signal) {
  const headers = {};
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let response, result;
  try {
    response = await fetch(`api/${path}`, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
    });
    result = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service does not answer.", 0);
  }
  if (!response.ok) throw new Refused(result?.detail ?? response.statusText, response.status);
  return result;
}

/** Make an element. Data goes in as text, never as markup. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
