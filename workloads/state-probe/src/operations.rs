//! The operations. The first word names the bucket, the second what to do; `old` before it all takes
//! the older draft of the interface.
//!
//! Every result is one line: what was read, `ok`, or `error: …`.

use std::cell::RefCell;

use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::{config0_2_0_draft as config_draft, config0_2_0_rc_1 as config};
use crate::bindings::wasi::keyvalue0_2_0_draft as draft;
use crate::bindings::wasi::keyvalue0_2_0_draft2 as draft2;
use draft2::atomics::{self, Cas, CasError};
use draft2::store::{Bucket, Error, open};

thread_local! {
    /// A bucket that is kept for the instance's next task.
    static KEPT: RefCell<Option<Bucket>> = const { RefCell::new(None) };
}

pub(crate) fn run(words: &[&str]) -> String {
    let result = match words {
        ["config", name] => Ok(setting(name)),
        ["old", bucket, rest @ ..] => old(bucket, rest),
        ["kept", rest @ ..] => KEPT.with_borrow(|bucket| match bucket {
            Some(bucket) => operate(bucket, rest),
            None => Ok("nothing kept".into()),
        }),
        [bucket, "keep"] => open(bucket).map(|bucket| {
            KEPT.set(Some(bucket));
            "ok".into()
        }),
        [bucket, rest @ ..] => open(bucket).and_then(|bucket| operate(&bucket, rest)),
        [] => Ok("usage: BUCKET get K | set K V | delete K | exists K | list | increment K N | swap K OLD NEW | \
                  race K N | batch K V K V | fill N BYTES | empty | time-get N | time-set N | keep; old …; kept …"
            .into()),
    };
    result.unwrap_or_else(|error| match error {
        Error::NoSuchStore => "error: no-such-store".into(),
        Error::AccessDenied => "error: access-denied".into(),
        Error::Other(text) => format!("error: {text}"),
    })
}

fn operate(bucket: &Bucket, words: &[&str]) -> Result<String, Error> {
    match words {
        ["get", key] => Ok(shown(bucket.get(key)?)),
        ["set", key, value] => bucket.set(key, value.as_bytes()).map(|()| "ok".into()),
        ["delete", key] => bucket.delete(key).map(|()| "ok".into()),
        ["exists", key] => bucket.exists(key).map(|exists| exists.to_string()),
        ["list"] => Ok(sorted(all_keys(bucket)?)),
        ["increment", key, delta] => {
            atomics::increment(bucket, key, number(delta)?).map(|sum| sum.to_string())
        }
        ["swap", key, old, new] => swap(bucket, key, old, new),
        ["race", key, times] => race(bucket, key, number(times)?),
        ["hoard", key, count] => hoard(bucket, key, number(count)?),
        ["batch", pairs @ ..] => batch(bucket, pairs),
        ["fill", count, bytes] => fill(bucket, number(count)?, number(bytes)?),
        ["empty"] => {
            let keys = all_keys(bucket)?;
            for some in keys.chunks(1000) {
                draft2::batch::delete_many(bucket, some)?;
            }
            Ok("ok".into())
        }
        ["time-get", times] => time(number(times)?, |turn| bucket.get(&key(turn)).map(drop)),
        ["time-set", times] => {
            time(number(times)?, |turn| bucket.set(&key(turn), b"a value of 24 bytes here"))
        }
        _ => Ok(run(&[])),
    }
}

/// A setting through one draft, and how many there are through the other.
fn setting(name: &str) -> String {
    let value = config::store::get(name).ok().flatten().unwrap_or("none".into());
    let count = config_draft::store::get_all().map_or(0, |all| all.len());
    format!("{value} of {count}")
}

/// The older draft, as far as it differs.
fn old(bucket: &str, words: &[&str]) -> Result<String, Error> {
    let same = |error| match error {
        draft::store::Error::NoSuchStore => Error::NoSuchStore,
        draft::store::Error::AccessDenied => Error::AccessDenied,
        draft::store::Error::Other(text) => Error::Other(text),
    };
    let bucket = draft::store::open(bucket).map_err(same)?;
    let result = match words {
        ["get", key] => bucket.get(key).map(shown),
        ["set", key, value] => bucket.set(key, value.as_bytes()).map(|()| "ok".into()),
        ["delete", key] => bucket.delete(key).map(|()| "ok".into()),
        ["exists", key] => bucket.exists(key).map(|exists| exists.to_string()),
        ["list"] => bucket.list_keys(None).map(|page| sorted(page.keys)),
        ["increment", key, delta] => {
            let delta = number(delta)?;
            draft::atomics::increment(&bucket, key, delta).map(|sum| sum.to_string())
        }
        ["get-many", keys @ ..] => {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            draft::batch::get_many(&bucket, &keys).map(|found| {
                let found = found.into_iter().flatten();
                let found: Vec<_> =
                    found.map(|(key, value)| format!("{key}={}", shown(Some(value)))).collect();
                found.join(" ")
            })
        }
        _ => Ok(run(&[])),
    };
    result.map_err(same)
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or("none".into(), |value| String::from_utf8_lossy(&value).into_owned())
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Error> {
    text.parse().map_err(|_| Error::Other(format!("'{text}' is no such number")))
}

fn key(turn: u64) -> String {
    format!("key-{:05}", turn % 10_000)
}

fn all_keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

fn sorted(mut keys: Vec<String>) -> String {
    keys.sort();
    format!("{} {}", keys.len(), keys.iter().take(20).cloned().collect::<Vec<_>>().join(" "))
}

/// Writes `new` where `old` is; says what is there otherwise.
fn swap(bucket: &Bucket, key: &str, old: &str, new: &str) -> Result<String, Error> {
    let cas = Cas::new(bucket, key)?;
    let now = shown(cas.current()?);
    if now != old {
        return Ok(format!("is {now}"));
    }
    match atomics::swap(cas, new.as_bytes()) {
        Ok(()) => Ok("ok".into()),
        Err(CasError::CasFailed(now)) => Ok(format!("failed, is {}", shown(now.current()?))),
        Err(CasError::StoreError(error)) => Err(error),
    }
}

/// Adds 1 to a number so often, by compare-and-swap, and counts how often it lost.
fn race(bucket: &Bucket, key: &str, times: u64) -> Result<String, Error> {
    let mut lost = 0u64;
    for _ in 0..times {
        let mut cas = Cas::new(bucket, key)?;
        loop {
            let now: u64 =
                cas.current()?.map_or(Ok(0), |value| number(&String::from_utf8_lossy(&value)))?;
            // Between the two, other tasks have a chance to write.
            monotonic_clock::subscribe_duration(1).block();
            match atomics::swap(cas, (now + 1).to_string().as_bytes()) {
                Ok(()) => break,
                Err(CasError::CasFailed(now)) => {
                    lost += 1;
                    cas = now;
                }
                Err(CasError::StoreError(error)) => return Err(error),
            }
        }
    }
    Ok(format!("lost {lost}"))
}

/// Begins so many compare-and-swaps and ends none.
fn hoard(bucket: &Bucket, key: &str, count: u64) -> Result<String, Error> {
    let mut begun = Vec::new();
    for _ in 0..count {
        match Cas::new(bucket, key) {
            Ok(cas) => begun.push(cas),
            Err(Error::Other(text)) => return Ok(format!("{} begun, then {text}", begun.len())),
            Err(error) => return Err(error),
        }
    }
    Ok(format!("{} begun", begun.len()))
}

/// Writes pairs, reads them back with one key that is not there, deletes the first.
fn batch(bucket: &Bucket, words: &[&str]) -> Result<String, Error> {
    let pairs: Vec<_> = words
        .chunks_exact(2)
        .map(|pair| (pair[0].to_owned(), pair[1].as_bytes().to_vec()))
        .collect();
    draft2::batch::set_many(bucket, &pairs)?;
    let mut keys: Vec<_> = pairs.into_iter().map(|(key, _)| key).collect();
    keys.push("missing".into());
    let found = draft2::batch::get_many(bucket, &keys)?;
    draft2::batch::delete_many(bucket, &keys[..1])?;
    let found: Vec<_> =
        found.into_iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
    Ok(found.join(" "))
}

/// Writes values until so many are there or one is refused.
fn fill(bucket: &Bucket, count: u64, value_bytes: usize) -> Result<String, Error> {
    let value = vec![b'x'; value_bytes];
    for turn in 0..count {
        if let Err(error) = bucket.set(&format!("fill-{turn:08}"), &value) {
            return match error {
                Error::Other(text) => Ok(format!("{turn} written, then {text}")),
                error => Err(error),
            };
        }
    }
    Ok(format!("{count} written"))
}

/// Nanoseconds per operation.
fn time(times: u64, mut operation: impl FnMut(u64) -> Result<(), Error>) -> Result<String, Error> {
    let began = monotonic_clock::now();
    for turn in 0..times {
        operation(turn)?;
    }
    let took = monotonic_clock::now() - began;
    Ok(format!("{} ns", took / times.max(1)))
}
