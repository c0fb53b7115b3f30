//! Which file each top-level table is taken from.

use std::collections::HashSet;

/// A top-level key and the file that wins it, by its place among the layers.
#[derive(Debug, PartialEq, Eq)]
pub struct Winner {
    pub key: String,
    pub layer: usize,
}

/// Merge layers of top-level keys, the first layer closest.
///
/// The merge is shallow: the closest layer that has a key gives all of it. Keys come in the order
/// in which they are met.
pub fn winners(layers: &[Vec<String>]) -> Vec<Winner> {
    let mut taken = HashSet::new();
    let mut winners = Vec::new();
    for (layer, keys) in layers.iter().enumerate() {
        for key in keys {
            if taken.insert(key) {
                winners.push(Winner {
                    key: key.clone(),
                    layer,
                });
            }
        }
    }
    winners
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(layers: &[&[&str]]) -> Vec<(String, usize)> {
        let layers: Vec<Vec<String>> = layers
            .iter()
            .map(|keys| keys.iter().map(|key| (*key).to_owned()).collect())
            .collect();
        winners(&layers)
            .into_iter()
            .map(|winner| (winner.key, winner.layer))
            .collect()
    }

    #[test]
    fn the_closest_file_gives_the_whole_table() {
        assert_eq!(
            merged(&[&["default", "a"], &["a", "b"], &["b", "default", "c"]]),
            [("default", 0), ("a", 0), ("b", 1), ("c", 2)].map(|(key, layer)| (key.into(), layer))
        );
    }

    #[test]
    fn nothing_merges_to_nothing() {
        assert_eq!(merged(&[]), []);
        assert_eq!(merged(&[&[], &[]]), []);
    }

    proptest::proptest! {
        #[test]
        fn every_key_is_won_once_by_its_first_layer(
            layers in proptest::collection::vec(proptest::collection::vec("[a-e]", 0..4), 0..4)
        ) {
            let won = winners(&layers);
            for (layer, keys) in layers.iter().enumerate() {
                for key in keys {
                    let places: Vec<_> =
                        won.iter().filter(|winner| winner.key == *key).collect();
                    proptest::prop_assert_eq!(places.len(), 1);
                    proptest::prop_assert!(places[0].layer <= layer);
                    proptest::prop_assert!(layers[places[0].layer].contains(key));
                }
            }
        }
    }
}
