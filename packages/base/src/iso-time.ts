/**
 * A time of `Clock.wallMs` as people and JSON write it: ISO 8601 in UTC, to the millisecond, for years 0 to 9999. Pure, where the
 * platform's `Date` reads a clock as well. (Days to a date: Hinnant, "chrono-Compatible Low-Level Date Algorithms".)
 */
export function isoTime(wallMs: number): string {
  const ms = Math.floor(wallMs)
  const days = Math.floor(ms / DAY_MS)
  const inDay = ms - days * DAY_MS
  const shifted = days + DAYS_FROM_YEAR_0
  const era = Math.floor(shifted / ERA_DAYS)
  const ofEra = shifted - era * ERA_DAYS
  const leaps = Math.floor(ofEra / 1_460) - Math.floor(ofEra / 36_524) + Math.floor(ofEra / 146_096)
  const yearOfEra = Math.floor((ofEra - leaps) / 365)
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  // Years begin in March here, so that a leap day is the last one.
  const fromMarch = Math.floor((5 * ofYear + 2) / 153)
  const day = ofYear - Math.floor((153 * fromMarch + 2) / 5) + 1
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const time = [inDay / 3_600_000, (inDay / 60_000) % 60, (inDay / 1_000) % 60].map((part) => digits(part, 2))
  return `${digits(year, 4)}-${digits(month, 2)}-${digits(day, 2)}T${time.join(':')}.${digits(inDay % 1_000, 3)}Z`
}

const DAY_MS = 86_400_000
const ERA_DAYS = 146_097
const DAYS_FROM_YEAR_0 = 719_468

function digits(value: number, count: number): string {
  return String(Math.floor(value)).padStart(count, '0')
}
