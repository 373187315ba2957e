// Which optimizer trains a network, as data. The nodes that it becomes are made in train/.

/** Stochastic gradient descent with momentum (Polyak 1964) and decoupled weight decay. */
export interface Sgd {
  readonly kind: "sgd";
  /** Peak learning rate. */
  readonly rate: number;
  /** Share of the last step that is kept. */
  readonly momentum: number;
  /** Share of each weight that is added to its gradient. */
  readonly weightDecay: number;
}

/** An optimizer. */
export type Optimizer = Sgd;

/**
 * v ← momentum·v + g + weightDecay·w; w ← w - rate·v.
 *
 * @example
 * nn.sgd({ rate: 0.1, momentum: 0.9 })
 */
export function sgd(options: { rate: number; momentum?: number; weightDecay?: number }): Sgd {
  return { kind: "sgd", momentum: 0, weightDecay: 0, ...options };
}
