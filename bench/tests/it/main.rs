//! The load generator against small servers that misbehave in one way each.

mod load;
mod server;
