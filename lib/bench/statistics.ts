/** Order statistics of a sample: median, fastest, and the spread as the interquartile range over the median. */
export interface Summary {
  median: number
  best: number
  spread: number
  runs: number
}

/** @param values At least one value. */
export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b)
  const quantile = (q: number) => {
    const at = q * (sorted.length - 1)
    const low = sorted[Math.floor(at)]!
    return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
  }
  const median = quantile(0.5)
  return { median, best: sorted[0]!, spread: (quantile(0.75) - quantile(0.25)) / median, runs: sorted.length }
}
