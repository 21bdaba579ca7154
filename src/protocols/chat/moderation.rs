//! Stand-in until the other branch is here.

#[derive(PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Blocked,
}

pub struct Moderation;

impl Moderation {
    pub async fn judge(&self, text: &str) -> Verdict {
        if text.contains("forbidden") {
            Verdict::Blocked
        } else {
            Verdict::Pass
        }
    }
}
