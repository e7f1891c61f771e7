//! Figures, and what is wanted of them.

/// A figure, and what it must be at least, or at the most.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    name: &'static str,
    value: f64,
    least: Option<f64>,
    most: Option<f64>,
}

impl Figure {
    pub fn least(name: &'static str, value: f64, least: f64) -> Self {
        let (least, most) = (Some(least), None);
        Figure {
            name,
            value,
            least,
            most,
        }
    }

    pub fn most(name: &'static str, value: f64, most: f64) -> Self {
        let (least, most) = (None, Some(most));
        Figure {
            name,
            value,
            least,
            most,
        }
    }

    pub fn worse(self, other: Self) -> Self {
        let value = if self.least.is_some() {
            self.value.min(other.value)
        } else {
            self.value.max(other.value)
        };
        Figure { value, ..self }
    }

    pub fn is_met(&self) -> bool {
        self.least.is_none_or(|least| self.value >= least)
            && self.most.is_none_or(|most| self.value <= most)
    }

    pub fn show(&self) -> String {
        let mark = if self.is_met() { "" } else { " ✗" };
        format!("{} {:.3}{mark}", self.name, self.value)
    }

    pub fn wanted(&self) -> String {
        match (self.least, self.most) {
            (Some(least), _) => format!("{} ≥ {least}", self.name),
            (_, most) => format!("{} ≤ {}", self.name, most.unwrap_or_default()),
        }
    }
}
