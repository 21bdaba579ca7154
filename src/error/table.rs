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
/// The fields of a variant have names, which the row may use.
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
        $fn_vis:vis fn $function:ident(&self) -> $row_type:ty;
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
            $fn_vis fn $function(&self) -> $row_type {
                match self {
                    $(Self::$variant $(( $($place),+ ))? $({ $($field),+ })? => $row),+
                }
            }
        }
    };
}

pub(crate) use reply_table;

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
            Unknown { _name: &'static str } => Reply::new(404, "unknown", "there is none"),
        }
        /// What the client is told.
        fn reply(&self) -> Reply;
    }

    #[test]
    fn each_variant_has_its_row() {
        assert_eq!(Refusal::Unclear.reply(), Reply::new(400, "unclear", ""));
        assert_eq!(Refusal::TooLong(7).reply(), Reply::new(413, "too long", "it may have 7 bytes"));
        assert_eq!(Refusal::Unknown { _name: "x" }.reply().code, 404);
    }
}
