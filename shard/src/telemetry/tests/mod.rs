//! Tests against collectors.
