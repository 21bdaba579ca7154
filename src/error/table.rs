//! Refusals as tables: one row per variant.

use std::borrow::Cow;

/// What a client is told of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the protocol, or the HTTP status.
    pub code: u16,
    /// As the document of the protocol has it.
    pub text: Cow<'static, str>,
    /// In English: what was refused, why, and what would allow it; empty where the text says it.
    pub reason: Cow<'static, str>,
}

impl Reply {
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), reason: reason.into() }
    }
}

/// Declares an enum and its table: behind each variant stands its row, whose type is that of the function at the end.
/// A row may use the fields of its variant, which have names, and the arguments of the function.
///
/// ```ignore
/// reply_table! {
///     /// Why a wish is refused.
///     #[derive(Debug)]
///     pub enum Refusal {
///         Unclear => Reply::new(400, "unclear", "a wish is one JSON text"),
///         TooLong(limit: usize) => Reply::new(413, "too long", format!("a wish may have {limit} bytes")),
///     }
///     pub fn reply(&self) -> Reply;
/// }
/// ```
#[macro_export]
macro_rules! reply_table {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $(
                $(#[$variant_meta:meta])*
                $variant:ident
                $(( $($(#[$place_meta:meta])* $place:ident: $place_type:ty),+ ))?
                $({ $($field:ident: $field_type:ty),+ $(,)? })?
                => $row:expr
            ),+ $(,)?
        }
        $(#[$fn_meta:meta])*
        $fn_vis:vis fn $function:ident(&self $(, $argument:ident: $argument_type:ty)*) -> $row_type:ty;
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $(
                $(#[$variant_meta])*
                $variant $(( $($(#[$place_meta])* $place_type),+ ))? $({ $($field: $field_type),+ })?
            ),+
        }

        impl $name {
            $(#[$fn_meta])*
            #[allow(unused_variables)]
            $fn_vis fn $function(&self $(, $argument: $argument_type)*) -> $row_type {
                match self {
                    $(Self::$variant $(( $($place),+ ))? $({ $($field),+ })? => $row),+
                }
            }
        }
    };
}

pub use reply_table;

#[cfg(test)]
mod tests {
    use super::*;

    reply_table! {
        /// A table of every form that a row may have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Refusal {
            Unclear => Reply::new(400, "unclear", ""),
            TooLong(limit: usize) => Reply::new(413, "too long", format!("it may have {limit} bytes")),
            /// With names.
            Unknown { name: &'static str } => Reply::new(404, "unknown", format!("{wish}: there is no {name}")),
        }
        /// What the client is told.
        fn reply(&self, wish: &str) -> Reply;
    }

    #[test]
    fn each_variant_has_its_row() {
        assert_eq!(Refusal::Unclear.reply("x"), Reply::new(400, "unclear", ""));
        assert_eq!(Refusal::TooLong(7).reply("x"), Reply::new(413, "too long", "it may have 7 bytes"));
        assert_eq!(Refusal::Unknown { name: "y" }.reply("x").reason, "x: there is no y");
    }
}
