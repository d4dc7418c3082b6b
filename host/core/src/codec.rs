//! How everything that is signed becomes bytes: one way only.
//!
//! Integers are big-endian, byte strings and lists carry their length first (32 bits). A value has exactly one
//! encoding, and [`decode`] proves it: it encodes what it has read and refuses bytes that differ, so that nothing
//! unknown, left over or written in another way is ever signed for.

use crate::{PartyIndex, Threshold};

/// No list and no byte string in anything that we sign is longer. The longest is a sealed message of 2 MiB.
const MAX_SEQUENCE_LENGTH: usize = 4 << 20;

/// Bytes that are no encoding of the type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes")]
pub struct Malformed;

/// A type with one encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads one value off the front.
    ///
    /// # Errors
    /// When the bytes do not begin with one.
    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// The encoding of a value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The value that `bytes` encode.
///
/// # Errors
/// When they are not exactly the encoding of one value.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut reader = Reader(bytes);
    let value = T::take(&mut reader)?;
    if reader.0.is_empty() && encode(&value) == bytes { Ok(value) } else { Err(Malformed) }
}

/// The bytes that are left to read.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = usize::try_from(u32::take(self)?).map_err(|_| Malformed)?;
        // No item takes less than a byte: a length beyond what is there is a lie that would only cost memory.
        if length > MAX_SEQUENCE_LENGTH || length > self.0.len() { Err(Malformed) } else { Ok(length) }
    }
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes = input.bytes(size_of::<Self>())?;
                Ok(Self::from_be_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input.bytes(N)?.try_into().map_err(|_| Malformed)
    }
}

/// A byte string.
#[derive(Clone, PartialEq, Eq, Debug, Default, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl Wire for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = input.length()?;
        Ok(Self(input.bytes(length)?.to_vec()))
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_utf8(Bytes::take(input)?.0).map_err(|_| Malformed)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        (0..input.length()?).map(|_| T::take(input)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::take(input)? { T::take(input).map(Some) } else { Ok(None) }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

/// Lengths beyond 32 bits do not occur: nothing here is larger than [`MAX_SEQUENCE_LENGTH`]. One that did would not
/// decode.
fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

impl Wire for PartyIndex {
    fn put(&self, out: &mut Vec<u8>) {
        self.number().put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::try_from(u16::take(input)?).map_err(|_| Malformed)
    }
}

impl Wire for Threshold {
    fn put(&self, out: &mut Vec<u8>) {
        self.required().put(out);
        self.parties().put(out);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (required, parties) = (u16::take(input)?, u16::take(input)?);
        Self::new(required, parties).map_err(|_| Malformed)
    }
}

/// Implements [`Wire`] for a struct, field by field in the order given.
#[macro_export]
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$field.put(out); )*
            }

            fn take(
                input: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Malformed> {
                Ok(Self { $( $field: $crate::codec::Wire::take(input)?, )* })
            }
        }
    };
}
pub(crate) use wire_struct;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_meaning() {
        let value: (Vec<u16>, Option<Bytes>) = (vec![1, 2], Some(Bytes(vec![9])));
        let bytes = encode(&value);
        assert_eq!(decode(&bytes), Ok(value));
        let mut longer = bytes.clone();
        longer.push(0);
        for bad in [&bytes[..bytes.len() - 1], &longer, &[]] {
            assert_eq!(decode::<(Vec<u16>, Option<Bytes>)>(bad), Err(Malformed));
        }
        assert_eq!(decode::<bool>(&[2]), Err(Malformed));
        assert_eq!(decode::<Vec<u8>>(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed));
    }
}
