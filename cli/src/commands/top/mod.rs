//! `vyr top`: a node at a glance, in a terminal.
//!
//! `feed` brings what the node says, `model` keeps it, `keys` changes what is looked at, `view` draws;
//! here they meet. Model and view know neither node nor terminal.

mod feed;
mod keys;
mod list;
mod model;
mod recent;
mod share;
mod style;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use vyr_client::Client;
use vyr_core::id::TaskId;

use self::keys::Wish;
use self::list::Tab;
use self::model::{Model, Update};
use self::style::Palette;
use super::{block_on, client, until_interrupted};
use crate::arguments::{Connection, Top};
use crate::failure::Usage;

/// The shortest time between two pictures.
const PICTURE_EVERY_MIN: Duration = Duration::from_millis(50);
/// The longest: times that are shown as "ago" grow without any news.
const PICTURE_EVERY_MAX: Duration = Duration::from_secs(1);
/// Keys that may wait.
const KEYS_MAX: usize = 64;
/// Tasks that may wait to be cancelled.
const CANCEL_MAX: usize = 8;

pub(crate) fn run(arguments: &Top, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    if !io::stdout().is_terminal() {
        let message = "standard output is no terminal; 'vyr metrics stream' and 'vyr traces stream' write to a pipe";
        return Err(Usage(message.into()).into());
    }
    let interval = Duration::from_millis(arguments.interval);
    block_on(until_interrupted(async move {
        // What is wrong from the beginning is an error like any other command's.
        let node = client.describe_node().await?;
        let mut model = Model::new(client.node());
        model.apply(Update::Node(node));
        watch_node(&client, interval, model).await?;
        Ok(ExitCode::SUCCESS)
    }))
}

/// Feeds and shows the model until its user has seen enough.
async fn watch_node(client: &Client, interval: Duration, model: Model) -> anyhow::Result<()> {
    let (updates, came) = mpsc::channel(feed::UPDATES_MAX);
    let (look_at_running, running) = watch::channel(false);
    let (cancel, cancelled) = mpsc::channel(CANCEL_MAX);
    let wants = feed::Wants {
        running,
        cancel: cancelled,
    };
    // Not a task of its own: its panic must be ours.
    tokio::select! {
        result = show(model, came, &look_at_running, &cancel) => result,
        () = feed::run(client, interval, updates, wants) => Ok(()),
    }
}

async fn show(
    mut model: Model,
    mut updates: mpsc::Receiver<Update>,
    look_at_running: &watch::Sender<bool>,
    cancel: &mpsc::Sender<TaskId>,
) -> anyhow::Result<()> {
    let palette = Palette::of_environment();
    let mut screen = Screen::open()?;
    let mut events = terminal_events();
    let mut is_news = true;
    let mut drawn = Instant::now() - PICTURE_EVERY_MAX;
    loop {
        let wait = if is_news {
            PICTURE_EVERY_MIN
        } else {
            PICTURE_EVERY_MAX
        };
        tokio::select! {
            () = sleep_until(drawn + wait) => {
                screen.draw(&model, palette)?;
                (drawn, is_news) = (Instant::now(), false);
            }
            event = events.recv() => {
                let event = event.context("the terminal is gone")?;
                is_news = true;
                let Event::Key(key) = event.context("cannot read from the terminal")? else {
                    continue;
                };
                match keys::press(&mut model, key) {
                    Some(Wish::Quit) => return Ok(()),
                    // More cancellations than a hand can type are dropped.
                    Some(Wish::Cancel(task)) => drop(cancel.try_send(task)),
                    None => {}
                }
                look_at_running.send_replace(model.choice.tab == Tab::Running);
            }
            Some(update) = updates.recv() => is_news |= model.apply(update),
        }
    }
}

/// What the terminal sends. A thread reads it, because that waits.
fn terminal_events() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// The terminal in its picture mode. It is as before when this is dropped, and also before a panic's
/// message is printed.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot set the terminal up")?;
        Ok(Self(terminal))
    }

    fn draw(&mut self, model: &Model, palette: Palette) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_unix_ns = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let drawing = self
            .0
            .draw(|frame| view::draw(frame, model, palette, now_unix_ns));
        drawing.context("cannot write to the terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}
