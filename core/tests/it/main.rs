//! The artifact store against other tools, damage, crashes and competition.

mod crash;
mod damage;
mod other_tools;
mod store;
mod support;
