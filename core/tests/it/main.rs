//! The artifact store against other tools, damage, crashes and competition.

mod competition;
mod crash;
mod damage;
mod digests;
mod full_disk;
mod index_damage;
mod keys_of_others;
mod layouts_of_others;
mod other_tools;
mod store;
mod store_directory;
mod support;
