//! `wasi:config` for guests: the settings of their artifact's manifest, as the submission changed them.
//! Two drafts are offered, `0.2.0-rc.1` (wasmtime) and `0.2.0-draft` (wasmCloud); they are alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker};

use super::Guest;
use super::bindings::wasi::{config0_2_0_draft as draft, config0_2_0_rc_1 as rc1};

/// A task's settings.
pub(crate) type Config = Arc<BTreeMap<String, String>>;

struct HasConfig;

impl HasData for HasConfig {
    type Data<'a> = &'a mut Config;
}

/// Adds both drafts.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    rc1::store::add_to_linker::<_, HasConfig>(linker, |guest| &mut guest.config)?;
    draft::store::add_to_linker::<_, HasConfig>(linker, |guest| &mut guest.config)
}

fn all(config: &Config) -> Vec<(String, String)> {
    config
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl rc1::store::Host for &mut Config {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, rc1::store::Error>> {
        Ok(Ok(BTreeMap::get(self, &key).cloned()))
    }

    async fn get_all(
        &mut self,
    ) -> wasmtime::Result<Result<Vec<(String, String)>, rc1::store::Error>> {
        Ok(Ok(all(self)))
    }
}

impl draft::store::Host for &mut Config {
    async fn get(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, draft::store::Error>> {
        Ok(Ok(BTreeMap::get(self, &key).cloned()))
    }

    async fn get_all(
        &mut self,
    ) -> wasmtime::Result<Result<Vec<(String, String)>, draft::store::Error>> {
        Ok(Ok(all(self)))
    }
}
