/** 97.5 % quantile of the normal distribution: 2.5 % of it lie on each side of a 95 % interval. */
const z = 1.959963984540054

/**
 * Wilson's 95 % interval of a share.
 * @param share successes / count, 0 … 1
 * @param count trials, >= 1
 */
export function wilsonInterval(share: number, count: number): [low: number, high: number] {
  const z2 = z * z
  const center = (share + z2 / (2 * count)) / (1 + z2 / count)
  const half = (z / (1 + z2 / count)) * Math.sqrt((share * (1 - share)) / count + z2 / (4 * count * count))
  // At the ends the bound is exact; the difference above only comes near it.
  return [share === 0 ? 0 : center - half, share === 1 ? 1 : center + half]
}
