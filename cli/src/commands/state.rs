//! `vyr state`.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use vyr_client::{Client, NewState};
use vyr_core::id::ShardNumber;
use vyr_core::state::State;

use super::{block_on, client, read};
use crate::arguments::{Connection, Format, State as Command};
use crate::output;

pub(crate) fn run(command: Command, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    block_on(async move {
        match command {
            Command::Create {
                linger,
                max_bytes,
                max_keys,
                shard,
            } => {
                let new = NewState {
                    shard: shard.map(ShardNumber),
                    linger_ms: linger,
                    keys_max: max_keys,
                    bytes_max: max_bytes,
                };
                let state = client.create_state(&new).await?;
                println!("{}", state.id);
                eprintln!(
                    "created on shard {}; bind it within {} s: vyr task submit REF --bind {}=NAME",
                    state.shard,
                    state.expires_in_ms.unwrap_or_default() / 1000,
                    state.id
                );
            }
            Command::Ls { limit, output } => {
                list(&client.states(None, limit).await?.states, output)?;
            }
            Command::Show { id, output } => show(&client.state(&id).await?, output)?,
            Command::Rm { id } => client.delete_state(&id).await?,
            Command::Bind { id, task, name } => {
                let (name, mode) = match name.rsplit_once(':') {
                    Some((name, mode)) => (name, mode.parse().map_err(anyhow::Error::msg)?),
                    None => (name.as_str(), vyr_core::state::Mode::Rw),
                };
                client.bind_state(&id, &task, name, mode).await?;
                eprintln!("bound");
            }
            Command::Get { id, key } => {
                let value = client.state_get(&id, &key).await?;
                let mut stdout = io::stdout().lock();
                stdout.write_all(&value)?;
                stdout.flush()?;
            }
            Command::Put {
                id,
                key,
                value,
                file,
            } => {
                let value = match (value, file) {
                    (Some(value), _) => value.into_bytes(),
                    (None, Some(file)) => read(&file)?,
                    (None, None) => {
                        let mut value = Vec::new();
                        let read = io::stdin().read_to_end(&mut value);
                        read.context("cannot read the value from standard input")?;
                        value
                    }
                };
                client.state_put(&id, &key, value).await?;
            }
            Command::Delete { id, key } => client.state_delete(&id, &key).await?,
            Command::Keys { id, output } => keys(&client, &id, output).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn keys(client: &Client, id: &str, format: Format) -> anyhow::Result<()> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = client.state_keys(id, cursor).await?;
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if format == Format::Json {
        return output::json(&keys);
    }
    let mut stdout = io::stdout().lock();
    for key in keys {
        writeln!(stdout, "{key}")?;
    }
    Ok(())
}

/// How long a state still stays.
fn stay(state: &State) -> String {
    match state.expires_in_ms {
        Some(left_ms) => format!("{:.1} s", left_ms as f64 / 1000.0),
        None => "bound".into(),
    }
}

fn list(states: &[State], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&states);
    }
    let rows: Vec<_> = states
        .iter()
        .map(|state| {
            [
                state.id.to_string(),
                state.shard.to_string(),
                state.bindings.to_string(),
                state.keys.to_string(),
                state.bytes.to_string(),
                stay(state),
            ]
        })
        .collect();
    output::table(
        ["STATE", "SHARD", "BINDINGS", "KEYS", "BYTES", "STAYS"],
        &rows,
    )?;
    Ok(())
}

fn show(state: &State, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(state);
    }
    output::facts(&[
        ("state", state.id.to_string()),
        ("class", state.class.to_string()),
        ("shard", state.shard.to_string()),
        ("bindings", state.bindings.to_string()),
        ("stays", stay(state)),
        ("linger", format!("{} ms", state.linger_ms)),
        ("keys", format!("{} of {}", state.keys, state.keys_max)),
        ("bytes", format!("{} of {}", state.bytes, state.bytes_max)),
    ])?;
    Ok(())
}
