//! Bodies of requests that are one JSON object, with errors that name the field.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::error::{Fault, reason_at};

/// What is written as an object, and not as the list of its values, which a derived `Deserialize` takes as well.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Reads `body`.
///
/// # Errors
/// [`Fault::BodyUnreadable`] for what is not JSON; [`Fault::Malformed`], which begins with `what`, for JSON of
/// another shape: the field, what was found and what is allowed there.
pub fn json_body<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let Object(read) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // Of what begins as another shape it is not known yet whether it is JSON.
        let is_json = error.inner().is_data() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        let why = reason_at(error);
        if is_json {
            Fault::Malformed { what: format!("{what}: {why}").into() }
        } else {
            Fault::BodyUnreadable { format: "JSON", why }
        }
    })?;
    let end = reader.end().map_err(|error| error.to_string().into());
    end.map_err(|why| Fault::BodyUnreadable { format: "JSON", why })?;
    Ok(read)
}
