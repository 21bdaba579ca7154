//! Finds the resources of a large capability that match a name, without a look at the others.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    operation::Operations,
    resource::{Resource, parts},
};

/// What the matching ones permit together; `is_named`: only of those whose first segment is a name.
///
/// Matching goes segment by segment ([`Resource::matches`]). So does this: it keeps the beginnings by which resources may
/// still match, each with the next segment of the name or with `*`, and drops those that no resource has.
pub fn permitted(resources: &BTreeMap<Resource, Operations>, name: &str, is_named: bool) -> Operations {
    let exactly = |text: &str| resources.get(text).copied().unwrap_or(Operations::NONE);
    let begins = |text: &str| {
        let next = resources.range::<str, _>((Bound::Included(text), Bound::Unbounded)).next();
        next.is_some_and(|(resource, _)| resource.as_str().starts_with(text))
    };
    let (qualifier, name) = parts(name);
    let own = qualifier.map_or_else(String::new, |qualifier| format!("[{qualifier}]"));
    let mut beginnings = vec!["[*]".to_owned()];
    if own != beginnings[0] {
        beginnings.push(own);
    }
    let mut permitted = Operations::NONE;
    let mut segments = name.split(':').peekable();
    let mut is_first = true;
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let may_be_any = !(is_named && is_first);
        let mut longer = Vec::with_capacity(beginnings.len());
        for beginning in &beginnings {
            let any = may_be_any.then(|| format!("{beginning}*"));
            if let Some(any) = &any {
                permitted = permitted | exactly(any);
            }
            let same = (segment != "*").then(|| format!("{beginning}{segment}"));
            match &same {
                Some(same) if is_last => permitted = permitted | exactly(same),
                _ => {}
            }
            let next = same.into_iter().chain(any).map(|text| text + ":");
            longer.extend(next.filter(|text| !is_last && begins(text)));
        }
        beginnings = longer;
        is_first = false;
    }
    permitted
}
