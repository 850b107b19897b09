//! What was measured of several, turn by turn.

/// Something that is told.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// After the point.
    pub(crate) digits: u8,
    pub(crate) better: Better,
}

/// Which of two numbers is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// Figures of contenders, of which the first is our own.
pub(crate) struct Table {
    figures: &'static [Figure],
    contenders: Vec<Contender>,
}

struct Contender {
    name: &'static str,
    /// For each turn the values in the order of the figures.
    turns: Vec<Vec<f64>>,
}

impl Table {
    pub(crate) fn new(figures: &'static [Figure], names: impl IntoIterator<Item = &'static str>) -> Self {
        Self { figures, contenders: names.into_iter().map(|name| Contender { name, turns: Vec::new() }).collect() }
    }

    /// Adds a turn of the contender at a place.
    pub(crate) fn add(&mut self, place: usize, turn: Vec<f64>) {
        assert_eq!(turn.len(), self.figures.len());
        self.contenders[place].turns.push(turn);
    }

    pub(crate) const fn figures(&self) -> &'static [Figure] {
        self.figures
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.contenders.iter().map(|contender| contender.name)
    }

    /// The median of the turns, for each contender.
    pub(crate) fn values(&self, figure: &Figure) -> Vec<f64> {
        let place = self.figures.iter().position(|known| known.name == figure.name).unwrap();
        self.contenders.iter().map(|contender| median(contender.turns.iter().map(|turn| turn[place]).collect())).collect()
    }

    /// Our own value of the figure of this name.
    pub(crate) fn ours(&self, name: &str) -> f64 {
        let figure = self.figures.iter().find(|figure| figure.name == name).unwrap();
        self.values(figure)[0]
    }

    /// All figures by which the first two contenders can be compared.
    pub(crate) fn ratios(&self) -> impl Iterator<Item = (&'static Figure, f64)> {
        self.figures.iter().filter_map(|figure| Some((figure, self.ratio(figure)?)))
    }

    /// How many times better the first contender is than the second; none where one of them is told as 0.
    pub(crate) fn ratio(&self, figure: &Figure) -> Option<f64> {
        let [ours, other]: [f64; 2] = self.values(figure).get(..2)?.try_into().ok()?;
        let least = 0.5 / 10_f64.powi(figure.digits.into());
        let ratio = if figure.better == Better::More { ours / other } else { other / ours };
        (ours.min(other) > least).then_some(ratio)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
