//! What the server counts, each figure declared once: `figures!` makes from its rows the struct that is counted with
//! and all that `/metrics` says of each, as JSON and for Prometheus.

use std::time::Duration;

use serde_json::Value;

/// A figure with everything that `/metrics` says of it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its path in the JSON; empty: it is not there.
    pub json: &'static str,
    /// For Prometheus `letshare_<what>_<unit>`, and `_total` when it only rises; `what` empty: it is not there.
    pub what: &'static str,
    pub unit: &'static str,
    pub rises: bool,
    pub help: &'static str,
    /// What tells the samples apart, for Prometheus.
    pub label: &'static str,
    /// One without a label, or one for each value of it.
    pub samples: Vec<(Option<&'static str>, Number)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl Figure {
    /// Its value in the JSON: a number, or numbers by name.
    pub fn value(&self) -> Value {
        let number = |number: &Number| match *number {
            Number::Whole(number) => Value::from(number),
            Number::Real(number) => Value::from(number),
        };
        match &self.samples[..] {
            [(_, only)] => number(only),
            samples => samples.iter().map(|(name, one)| (name.unwrap_or_default(), number(one))).collect(),
        }
    }
}

/// What a figure may be.
pub trait Measured {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)>;
}

impl Measured for u64 {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        vec![(reason, Number::Whole(*self))]
    }
}

impl Measured for Duration {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        vec![(reason, Number::Real(self.as_secs_f64()))]
    }
}

/// Seconds until something ends, less than 0 when it has: shown as days with one digit behind the point.
impl Measured for Option<i64> {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        let days = |seconds: i64| (seconds as f64 / 8_640.0).floor() / 10.0;
        self.iter().map(|seconds| (reason, Number::Real(days(*seconds)))).collect()
    }
}

/// Milliseconds, also less than 0: shown as seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Millis(pub i64);

impl Measured for Millis {
    fn samples(&self, reason: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        vec![(reason, Number::Real(self.0 as f64 / 1_000.0))]
    }
}

/// Counts by name.
impl<const N: usize> Measured for [(&'static str, u64); N] {
    fn samples(&self, _: Option<&'static str>) -> Vec<(Option<&'static str>, Number)> {
        self.iter().map(|(name, count)| (Some(*name), Number::Whole(*count))).collect()
    }
}

/// Figures that belong together.
pub trait Figures {
    fn figures(&self) -> Vec<Figure>;
}

impl<T: Figures> Figures for Option<T> {
    fn figures(&self) -> Vec<Figure> {
        self.iter().flat_map(Figures::figures).collect()
    }
}

/// A row: what the figure says, `name: type = (kind, JSON path, what, unit)`, and with a label also `reason, help of
/// the family`: rows of one family follow one another;
/// `by label`: the figure is counts by name, and this is what Prometheus calls the name instead of `reason`. The kind is `rises` or `now`. `= all` puts other [`Figures`] in.
/// `adding` in front: two of them can be added up.
macro_rules! figures {
    (adding $(#[doc = $about:literal])+ $Name:ident {
        $($(#[doc = $help:literal])+ $field:ident: $type:ty = $row:tt;)+
    }) => {
        figures! { $(#[doc = $about])+ $Name { $($(#[doc = $help])+ $field: $type = $row;)+ } }

        impl std::ops::AddAssign for $Name {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
    ($(#[doc = $about:literal])+ $Name:ident {
        $($(#[doc = $help:literal])+ $field:ident: $type:ty = $row:tt;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $Name {
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl $crate::actors::figures::Figures for $Name {
            fn figures(&self) -> Vec<$crate::actors::figures::Figure> {
                [$(figures!(@of self.$field, concat!($($help),+), $row)),+].concat()
            }
        }
    };
    (@of $value:expr, $help:expr, all) => {
        $crate::actors::figures::Figures::figures(&$value)
    };
    (@of $value:expr, $help:expr, ($kind:ident, $json:literal, $what:literal, $unit:literal, by $label:literal)) => {
        figures!(@figure $value, $help, $kind, $json, $what, $unit, None, $label)
    };
    (@of $value:expr, $help:expr, ($kind:ident, $json:literal, $what:literal, $unit:literal)) => {
        figures!(@figure $value, $help, $kind, $json, $what, $unit, None, "reason")
    };
    (@of $value:expr, $help:expr, ($kind:ident, $json:literal, $what:literal, $unit:literal, $reason:literal, $family:expr)
    ) => {
        figures!(@figure $value, $family, $kind, $json, $what, $unit, Some($reason), "reason")
    };
    (@figure
        $value:expr, $help:expr, $kind:ident, $json:literal, $what:literal, $unit:literal, $reason:expr, $label:literal
    ) => {
        vec![$crate::actors::figures::Figure {
            json: $json,
            what: $what,
            unit: $unit,
            rises: figures!(@$kind),
            help: $help,
            label: $label,
            samples: $crate::actors::figures::Measured::samples(&$value, $reason),
        }]
    };
    (@rises) => { true };
    (@now) => { false };
}

pub(crate) use figures;
