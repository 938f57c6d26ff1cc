//! The artifact model.
