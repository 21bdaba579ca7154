//! A value that is replaced as a whole while others read it: settings that take effect without a restart.

use std::sync::Arc;

use parking_lot::RwLock;

/// Readers get a value that does not change under their hands; who reads again gets the newest.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read())
    }

    pub fn set(&self, value: impl Into<Arc<T>>) {
        *self.0.write() = value.into();
    }
}
