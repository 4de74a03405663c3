//! Names to dense numbers and back: tenants, users, conversations.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::hash::Hashes;

/// Gives every (scope, name) a number, counting from 0. Names of an unfinished batch are at the
/// end and can be taken back.
#[derive(Debug)]
pub(crate) struct Interner<N: ?Sized> {
    names: Vec<(u32, Arc<N>)>,
    table: HashTable<u32>,
}

impl<N: ?Sized> Default for Interner<N> {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            table: HashTable::new(),
        }
    }
}

impl<N: ?Sized + AsRef<[u8]>> Interner<N>
where
    for<'a> Arc<N>: From<&'a N>,
{
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find(&self, hashes: &Hashes, scope: u32, name: &N) -> Option<u32> {
        let name = name.as_ref();
        self.table
            .find(hashes.name(scope, name), |&index| {
                let (its_scope, its_name) = &self.names[index as usize];
                *its_scope == scope && (**its_name).as_ref() == name
            })
            .copied()
    }

    pub(crate) fn intern(&mut self, hashes: &Hashes, scope: u32, name: &N) -> u32 {
        if let Some(index) = self.find(hashes, scope, name) {
            return index;
        }
        let index = self.names.len() as u32;
        self.names.push((scope, Arc::from(name)));
        let names = &self.names;
        self.table
            .insert_unique(hashes.name(scope, name.as_ref()), index, |&other| {
                let (scope, name) = &names[other as usize];
                hashes.name(*scope, (**name).as_ref())
            });
        index
    }

    pub(crate) fn name(&self, index: u32) -> &Arc<N> {
        &self.names[index as usize].1
    }

    pub(crate) fn scope(&self, index: u32) -> u32 {
        self.names[index as usize].0
    }

    /// Takes back every name numbered `len` or higher.
    pub(crate) fn truncate(&mut self, hashes: &Hashes, len: usize) {
        while self.names.len() > len {
            let index = self.names.len() as u32 - 1;
            if let Some((scope, name)) = self.names.pop() {
                let hash = hashes.name(scope, (*name).as_ref());
                if let Ok(entry) = self.table.find_entry(hash, |&other| other == index) {
                    entry.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_name_in_two_scopes_gets_two_numbers() {
        let hashes = Hashes::new([3; 16]);
        let mut names = Interner::<str>::default();
        let numbers = [(0, "a"), (1, "a"), (0, "b"), (0, "a")]
            .map(|(scope, name)| names.intern(&hashes, scope, name));
        assert_eq!(numbers, [0, 1, 2, 0]);
        assert_eq!((&**names.name(2), names.scope(1)), ("b", 1));
    }

    #[test]
    fn truncated_names_are_forgotten_and_their_numbers_given_again() {
        let hashes = Hashes::new([3; 16]);
        let mut names = Interner::<str>::default();
        for n in 0..100 {
            names.intern(&hashes, 0, &format!("user{n}"));
        }
        names.truncate(&hashes, 40);
        assert_eq!(names.find(&hashes, 0, "user40"), None);
        assert_eq!(names.find(&hashes, 0, "user39"), Some(39));
        assert_eq!(names.intern(&hashes, 0, "other"), 40);
    }
}
