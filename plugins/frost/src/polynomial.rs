//! Polynomials in the exponent: what commitments say about a share, and whether points lie on one polynomial.

use frost_core::keys::CoefficientCommitment;
use frost_core::{Ciphersuite, Element, Error, Field, Group, Scalar};
use quorate_plugin_sdk::PartyIndex;

/// The point of a party.
pub(crate) type PartyPoint<S> = (u16, Element<S>);

/// The point that these bytes encode. The library has no other public way from one to the other.
pub(crate) fn point<S: Ciphersuite>(encoded: &[u8]) -> Result<Element<S>, Error<S>> {
    Ok(CoefficientCommitment::<S>::deserialize(encoded)?.value())
}

/// The value at a party of the polynomial without constant term whose other coefficients these points commit to.
pub(crate) fn committed_value<S: Ciphersuite>(coefficients: &[Element<S>], party: PartyIndex) -> Element<S> {
    let x = scalar::<S>(party.number());
    let horner = |sum: Element<S>, &coefficient: &Element<S>| (sum + coefficient) * x;
    coefficients.iter().rev().fold(<S::Group as Group>::identity(), horner)
}

fn scalar<S: Ciphersuite>(number: u16) -> Scalar<S> {
    let one = <<S::Group as Group>::Field as Field>::one();
    (0..number).fold(<<S::Group as Group>::Field as Field>::zero(), |sum, _| sum + one)
}

/// The value at `x` of the polynomial in the exponent through these points, whose parties differ; `None` if two do not.
fn interpolate<S: Ciphersuite>(points: &[PartyPoint<S>], x: u16) -> Option<Element<S>> {
    let x = scalar::<S>(x);
    let mut sum = <S::Group as Group>::identity();
    for &(party, point) in points {
        let mut numerator = scalar::<S>(1);
        let mut denominator = scalar::<S>(1);
        for &(other, _) in points.iter().filter(|(other, _)| *other != party) {
            numerator = numerator * (x - scalar::<S>(other));
            denominator = denominator * (scalar::<S>(party) - scalar::<S>(other));
        }
        let inverse = <<S::Group as Group>::Field as Field>::invert(&denominator).ok()?;
        sum = sum + point * (numerator * inverse);
    }
    Some(sum)
}

/// Whether the points, at least t of them, lie on one polynomial of degree t − 1 whose value at 0 is `key`.
pub(crate) fn lie_on_polynomial<S: Ciphersuite>(
    points: &[PartyPoint<S>],
    threshold: u16,
    key: Element<S>,
) -> bool {
    let Some((basis, rest)) = points.split_at_checked(threshold.into()) else { return false };
    let mut others = rest.iter().copied().chain([(0, key)]);
    others.all(|(party, point)| interpolate::<S>(basis, party).is_some_and(|expected| expected == point))
}

#[cfg(all(test, feature = "ed25519"))]
mod tests {
    use super::*;
    use frost_ed25519::Ed25519Sha512 as S;

    /// The points of 5 + 3x.
    fn line(parties: &[u16]) -> Vec<PartyPoint<S>> {
        let generator = <<S as Ciphersuite>::Group as Group>::generator();
        parties.iter().map(|&party| (party, generator * scalar::<S>(5 + 3 * party))).collect()
    }

    #[test]
    fn points_of_a_line_are_told_from_others() {
        let generator = <<S as Ciphersuite>::Group as Group>::generator();
        let key = generator * scalar::<S>(5);
        assert!(lie_on_polynomial::<S>(&line(&[1, 2]), 2, key));
        assert!(lie_on_polynomial::<S>(&line(&[2, 4, 9]), 2, key));
        assert!(lie_on_polynomial::<S>(&line(&[1, 2, 3]), 3, key));
        assert!(!lie_on_polynomial::<S>(&line(&[1, 2]), 2, generator));
        assert!(!lie_on_polynomial::<S>(&line(&[1, 2]), 3, key), "too few points");
        assert!(!lie_on_polynomial::<S>(&line(&[1, 1]), 2, key), "a party twice");
        for wrong in 0..3 {
            let mut points = line(&[1, 2, 3]);
            points[wrong].1 += generator;
            assert!(!lie_on_polynomial::<S>(&points, 2, key), "point {wrong}");
        }
    }
}
