//! Messages from any thread to a task of an executor.
//!
//! A message wakes a sleeping executor at once. A busy one sees it when its tasks
//! [yield](super::yield_to_io); tasks that only yield among themselves delay it by a few task polls
//! on epoll and by up to 10 ms on io_uring.

use tokio::sync::mpsc;

/// Makes a mailbox for at most `capacity` messages.
///
/// # Panics
/// When `capacity` is 0.
pub fn bounded<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Sender(sender), Receiver(receiver))
}

/// The sending side, for any thread.
#[derive(Debug)]
pub struct Sender<T>(mpsc::Sender<T>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Why a message was not taken; it is given back.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError<T> {
    /// The mailbox holds as many messages as it may.
    #[error("the mailbox is full")]
    Full(T),
    /// The receiver is gone.
    #[error("the mailbox is closed")]
    Closed(T),
}

impl<T: Send> Sender<T> {
    /// Puts a message in, without waiting.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(message).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(message) => TrySendError::Full(message),
            mpsc::error::TrySendError::Closed(message) => TrySendError::Closed(message),
        })
    }

    /// Puts a message in, waiting for room. Gives it back when the receiver is gone.
    pub async fn send(&self, message: T) -> Result<(), T> {
        self.0.send(message).await.map_err(|refused| refused.0)
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Receiver<T>(mpsc::Receiver<T>);

impl<T: Send> Receiver<T> {
    /// Waits for a message; `None` when every sender is gone and the mailbox is empty. May be
    /// dropped at any time without losing a message.
    pub async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    /// Takes a message that is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}
