//! Points in time, as they are signed and stored. Spans are [`Duration`]s; all arithmetic saturates.

use core::ops::{Add, Sub};
use core::time::Duration;

use crate::codec::{Malformed, Reader, Wire};

/// A point in time, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);

/// A point in time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl UnixSeconds {
    /// The time since an earlier point; zero if that lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl UnixMillis {
    /// The time since an earlier point; zero if that lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The full seconds.
    #[must_use]
    pub fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0 / 1_000)
    }
}

impl From<UnixSeconds> for UnixMillis {
    fn from(time: UnixSeconds) -> Self {
        Self(time.0.saturating_mul(1_000))
    }
}

macro_rules! points {
    ($($point:ident, $units:ident);*) => {$(
        impl Add<Duration> for $point {
            type Output = Self;

            fn add(self, span: Duration) -> Self {
                Self(self.0.saturating_add($units(span)))
            }
        }

        impl Sub<Duration> for $point {
            type Output = Self;

            fn sub(self, span: Duration) -> Self {
                Self(self.0.saturating_sub($units(span)))
            }
        }

        impl Wire for $point {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                u64::take(input).map(Self)
            }
        }
    )*};
}

points!(UnixSeconds, whole_seconds; UnixMillis, whole_millis);

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs()
}

/// A span in milliseconds; the largest number if it does not fit.
#[must_use]
pub fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_drops_parts_of_a_unit() {
        let (first, last) = (UnixSeconds(0), UnixSeconds(u64::MAX));
        assert_eq!((first - Duration::from_secs(1), last + Duration::from_secs(1)), (first, last));
        assert_eq!(UnixSeconds(10).since(UnixSeconds(7)), Duration::from_secs(3));
        assert_eq!(UnixSeconds(7).since(UnixSeconds(10)), Duration::ZERO);
        assert_eq!(UnixSeconds(7) + Duration::from_millis(1_999), UnixSeconds(8));
        assert_eq!(UnixMillis(1_999).seconds(), UnixSeconds(1));
        assert_eq!(UnixMillis::from(UnixSeconds(2)), UnixMillis(2_000));
        assert_eq!(UnixMillis::from(last), UnixMillis(u64::MAX));
        assert_eq!(whole_millis(Duration::MAX), u64::MAX);
    }
}
