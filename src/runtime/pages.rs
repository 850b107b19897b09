//! A long list, page by page, metadata only.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api,
    api::ListParams,
    core::{ObjectList, PartialObjectMeta},
};
use serde::de::DeserializeOwned;

use super::request::{self, RequestError};

/// How long one page may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);
/// What an API server answers to a list that goes on after too long.
const EXPIRED: u16 = 410;

/// All objects of a list, in pages. Each page is of the time of the first, unless the pages take so long that the API server has
/// forgotten that time.
#[derive(Debug)]
pub struct Pages<'a, K> {
    objects: &'a Api<K>,
    first: ListParams,
    position: Position,
}

#[derive(Debug)]
enum Position {
    Start,
    After(String),
    End,
}

impl<'a, K: Clone + DeserializeOwned + Debug> Pages<'a, K> {
    /// Those that `first` chooses, as many in a page as its limit says.
    #[must_use]
    pub const fn of(objects: &'a Api<K>, first: ListParams) -> Self {
        Self { objects, first, position: Position::Start }
    }

    /// The metadata of the next ones; `None` after the last.
    ///
    /// # Errors
    /// The API server refuses the list, or does not answer in time.
    pub async fn next(&mut self) -> Result<Option<Vec<PartialObjectMeta<K>>>, RequestError> {
        let page = match &self.position {
            Position::Start => self.page(None).await,
            Position::After(token) => self.page_after(token).await,
            Position::End => return Ok(None),
        }?;
        self.position = page.metadata.continue_.filter(|token| !token.is_empty()).map_or(Position::End, Position::After);
        Ok(Some(page.items))
    }

    async fn page_after(&self, token: &str) -> Result<ObjectList<PartialObjectMeta<K>>, RequestError> {
        match self.page(Some(token)).await {
            // The answer brings a token by which the list goes on, with objects as they are by now.
            Err(RequestError::Refused(kube::Error::Api(status))) if status.code == EXPIRED => {
                let token = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                self.page(Some(&token.ok_or(kube::Error::Api(status))?)).await
            }
            page => page,
        }
    }

    async fn page(&self, token: Option<&str>) -> Result<ObjectList<PartialObjectMeta<K>>, RequestError> {
        let parameters = token.into_iter().fold(self.first.clone(), ListParams::continue_token);
        request::within(PAGE_DEADLINE, self.objects.list_metadata(&parameters)).await
    }
}
