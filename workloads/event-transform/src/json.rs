//! A strict scanner of JSON (RFC 8259) that borrows from the line: it copies nothing and builds no
//! tree. It is written for this workload, where it is most of the work.
//!
//! Invariants: the input is UTF-8 (the caller has checked); nesting is bounded, so the stack is.

use crate::limits::JSON_DEPTH_MAX;

/// The input is not JSON, or is nested too deeply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// A value, as far as this workload tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// The member is not there.
    Missing,
    Null,
    /// A number without fraction and exponent; beyond 64 bits it is the nearest that fits.
    Integer(i64),
    String(Text<'a>),
    /// Any other number, a boolean, an array, an object.
    Other,
}

/// A string between its quotes, escapes unresolved but known to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

/// Room for a string with its escapes resolved; a longer one is nothing this workload looks for.
pub(crate) type Room = [u8; 64];

impl<'a> Text<'a> {
    /// A string that is known to have no escapes.
    #[inline]
    pub(crate) fn plain(raw: &'a [u8]) -> Self {
        Self { raw, escaped: false }
    }

    /// The string's bytes; `None` if they have escapes and do not fit. A lone surrogate becomes
    /// U+FFFD.
    #[inline]
    pub(crate) fn resolve<'b>(&self, room: &'b mut Room) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if self.escaped { unescape(self.raw, room) } else { Some(self.raw) }
    }
}

/// Reads one JSON text from its beginning to its end.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte, if there is one.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes the wanted byte after any space.
    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<(), NotJson> {
        if self.take(wanted) { Ok(()) } else { Err(NotJson) }
    }

    /// Takes the wanted byte after any space, if it is there.
    #[inline]
    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        if self.peek() != Some(wanted) {
            self.skip_space();
            if self.peek() != Some(wanted) {
                return false;
            }
        }
        self.at += 1;
        true
    }

    /// Takes exactly these bytes, if they are what comes next.
    #[inline]
    pub(crate) fn take_all(&mut self, wanted: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    /// Checks that nothing but space is left.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(NotJson) }
    }

    /// Reads a value at this level of nesting.
    #[inline]
    pub(crate) fn value(&mut self, depth: u32) -> Result<Value<'a>, NotJson> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.rare_value(depth),
        }
    }

    /// Reads a value and gives the bytes it is made of.
    pub(crate) fn raw_value(&mut self, depth: u32) -> Result<&'a [u8], NotJson> {
        self.skip_space();
        let start = self.at;
        self.value(depth)?;
        Ok(&self.bytes[start..self.at])
    }

    fn rare_value(&mut self, depth: u32) -> Result<Value<'a>, NotJson> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word(b"null", Value::Null),
            Some(b't') => self.word(b"true", Value::Other),
            Some(b'f') => self.word(b"false", Value::Other),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            _ => Err(NotJson),
        }
    }

    fn word(&mut self, word: &[u8], value: Value<'a>) -> Result<Value<'a>, NotJson> {
        if self.take_all(word) { Ok(value) } else { Err(NotJson) }
    }

    fn object(&mut self, depth: u32) -> Result<Value<'a>, NotJson> {
        self.members(depth, |scanner, _| scanner.value(depth).map(drop))?;
        Ok(Value::Other)
    }

    /// Reads an object at this level of nesting, handing over each name; `read` takes the value.
    pub(crate) fn members(
        &mut self,
        depth: u32,
        read: impl FnMut(&mut Self, Text<'a>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.expect(b'{')?;
        if depth > JSON_DEPTH_MAX {
            return Err(NotJson);
        }
        if self.take(b'}') { Ok(()) } else { self.remaining_members(read) }
    }

    /// Reads the rest of an object from where a name must follow, to its closing brace.
    pub(crate) fn remaining_members(
        &mut self,
        mut read: impl FnMut(&mut Self, Text<'a>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        loop {
            self.skip_space();
            let name = self.string()?;
            self.expect(b':')?;
            self.skip_space();
            read(self, name)?;
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<Value<'a>, NotJson> {
        self.elements(depth, |scanner| scanner.value(depth).map(drop))?;
        Ok(Value::Other)
    }

    /// Reads an array at this level of nesting; `read` takes each value.
    pub(crate) fn elements(
        &mut self,
        depth: u32,
        mut read: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.expect(b'[')?;
        if depth > JSON_DEPTH_MAX {
            return Err(NotJson);
        }
        if self.take(b']') {
            return Ok(());
        }
        loop {
            read(self)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<Value<'a>, NotJson> {
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let start = self.at;
        let mut value = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        if digits == 0 || (digits > 1 && self.bytes[start] == b'0') {
            return Err(NotJson);
        }
        if let Some(b'.' | b'e' | b'E') = self.peek() {
            return self.fraction();
        }
        Ok(Value::Integer(if negative { -value } else { value }))
    }

    #[cold]
    fn fraction(&mut self) -> Result<Value<'a>, NotJson> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Other)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    #[inline]
    fn string(&mut self) -> Result<Text<'a>, NotJson> {
        if self.peek() != Some(b'"') {
            return Err(NotJson);
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(NotJson),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                self.at += 5;
                Ok(())
            }
            _ => Err(NotJson),
        }
    }
}

/// Resolves the escapes of a string that the scanner has accepted.
#[cold]
fn unescape<'b>(raw: &[u8], room: &'b mut Room) -> Option<&'b [u8]> {
    let mut length = 0;
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let mut encoded = [0; 4];
        let bytes = if byte == b'\\' {
            let (character, after) = escaped_character(rest)?;
            rest = after;
            character.encode_utf8(&mut encoded).as_bytes()
        } else {
            encoded[0] = byte;
            &encoded[..1]
        };
        room.get_mut(length..length + bytes.len())?.copy_from_slice(bytes);
        length += bytes.len();
    }
    Some(&room[..length])
}

/// The character that an escape stands for, from behind its backslash, and what follows it.
fn escaped_character(rest: &[u8]) -> Option<(char, &[u8])> {
    let (&kind, rest) = rest.split_first()?;
    let character = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (high, rest) = code_unit(rest)?;
            if let 0xd800..0xdc00 = high
                && let Some(after) = rest.strip_prefix(b"\\u")
                && let Some((low @ 0xdc00..0xe000, after)) = code_unit(after)
            {
                let point = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Some((char::from_u32(point)?, after));
            }
            return Some((char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), rest));
        }
        other => char::from(other),
    };
    Some((character, rest))
}

fn code_unit(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = rest.split_at_checked(4)?;
    let unit = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((unit, rest))
}
