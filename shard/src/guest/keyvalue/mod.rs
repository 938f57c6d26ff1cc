//! `wasi:keyvalue` for guests: the states a task is bound to, under the names it is bound to them by.
//!
//! Two drafts are offered, `0.2.0-draft` (wasmtime, wasmCloud) and `0.2.0-draft2` (Spin). Both are thin:
//! what an operation does is the state kernel's affair.

pub(super) mod buckets;
mod draft;
mod draft2;

use wasmtime::component::{HasData, Linker};

pub(crate) use buckets::Buckets;
use buckets::KeyValue;

use super::Guest;

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValue<'a>;
}

fn view(guest: &mut Guest) -> KeyValue<'_> {
    KeyValue {
        buckets: &mut guest.buckets,
        table: &mut guest.table,
    }
}

/// Adds both drafts.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use super::bindings::wasi::{keyvalue0_2_0_draft as draft, keyvalue0_2_0_draft2 as draft2};
    draft::store::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft::atomics::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft::batch::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft2::store::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft2::atomics::add_to_linker::<_, HasKeyValue>(linker, view)?;
    draft2::batch::add_to_linker::<_, HasKeyValue>(linker, view)
}
