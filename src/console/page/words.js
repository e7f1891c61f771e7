// Numbers and times in words.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A whole number with its thousands apart. */
export function count(number) {
  return number === null || number === undefined ? "–" : whole.format(number);
}

/** So many of something. */
export function of(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A rate: with a fraction where it is small. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number < 9.95 ? tenths.format(number) : whole.format(number);
}

/** A short time, from milliseconds to hours. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return "< 1 ms";
  if (value < 0.9995) return `${whole.format(value * 1000)} ms`;
  if (value < 9.95) return `${tenths.format(value)} s`;
  return span(value);
}

/** A time span in its two largest units. */
export function span(value) {
  const left = Math.max(0, Math.round(value));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${left % 60} s`;
  if (left < 86400) return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
  return `${Math.floor(left / 86400)} d ${Math.floor((left % 86400) / 3600)} h`;
}

/** A time in UTC to the second: of today without the day. */
export function time(text, now) {
  const [day, clock] = text.slice(0, 19).split("T");
  return now.slice(0, 10) === day ? `${clock} UTC` : `${day} ${clock} UTC`;
}

/** How long ago, or in how long, in the largest unit. */
export function ago(text, now) {
  const since = between(text, now);
  const left = Math.abs(since);
  if (left < 1) return "just now";
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => left >= size);
  const words = `${Math.floor(left / size)} ${unit}`;
  return since < 0 ? `in ${words}` : `${words} ago`;
}

/** A time span in its largest unit. */
export function short(value) {
  return span(value).split(" ", 2).join(" ");
}

/** The seconds between two times in text. */
export function between(earlier, later) {
  return (Date.parse(later) - Date.parse(earlier)) / 1000;
}
