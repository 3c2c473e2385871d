//! Welch's t-test over timings of two classes.

/// The timings of two classes.
#[derive(Default)]
pub(crate) struct Test {
    timings: [Vec<f64>; 2],
}

impl Test {
    pub(crate) fn add(&mut self, class: usize, nanos: f64) {
        if let Some(timings) = self.timings.get_mut(class) {
            timings.push(nanos);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.timings.iter().map(Vec::len).sum()
    }

    /// The mean of each class below the median of all, in nanoseconds: what is left when the machine's doing is cut off.
    pub(crate) fn means(&self) -> [f64; 2] {
        let limit = self.limits().first().copied().unwrap_or(f64::INFINITY);
        self.classes(limit).map(|class| class.mean)
    }

    /// The largest |t| over all timings, and over those below each percentile.
    pub(crate) fn worst(&self) -> f64 {
        let limits = self.limits().into_iter().chain([f64::INFINITY]);
        limits
            .map(|limit| {
                let [a, b] = self.classes(limit);
                welch(&a, &b).abs()
            })
            .fold(0.0, f64::max)
    }

    /// Timings from the median up to what all but a few stay below.
    fn limits(&self) -> Vec<f64> {
        let mut sorted: Vec<f64> = self.timings.iter().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
        [0.5, 0.75, 0.9, 0.97, 0.99].into_iter().filter_map(at).collect()
    }

    fn classes(&self, limit: f64) -> [Class; 2] {
        let [a, b] = &self.timings;
        [a, b].map(|timings| Class::of(timings.iter().copied().filter(|nanos| *nanos <= limit)))
    }
}

/// How many there are, their mean and their variance.
#[derive(Default)]
struct Class {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Class {
    /// Welford's way, which loses nothing to large sums.
    fn of(timings: impl Iterator<Item = f64>) -> Self {
        let mut class = Self::default();
        for nanos in timings {
            class.count += 1.0;
            let off = nanos - class.mean;
            class.mean += off / class.count;
            class.squares += off * (nanos - class.mean);
        }
        class
    }

    fn variance(&self) -> f64 {
        self.squares / (self.count - 1.0)
    }
}

/// Welch's t; 0 where there is too little to tell.
fn welch(a: &Class, b: &Class) -> f64 {
    if a.count < 30.0 || b.count < 30.0 {
        return 0.0;
    }
    let spread = (a.variance() / a.count + b.variance() / b.count).sqrt();
    let apart = a.mean - b.mean;
    // Clocks tick: timings can be all alike.
    match (spread > 0.0, apart == 0.0) {
        (true, _) => apart / spread,
        (false, true) => 0.0,
        (false, false) => f64::INFINITY,
    }
}
