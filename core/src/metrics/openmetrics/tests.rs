//! The exposition read back by a strict parser.
