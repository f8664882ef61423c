"""All that an account has published of some datasets: what the ledger knows, and what labels tell besides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...atmosphere.labels import all_labelled
from ...state.facts import LAST_RESULT, NAME_OWNER, NAME_RESULT
from ..scheduling.due import PAGE

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient
    from ...state.facts import RecordResult
    from ...state.ledger import FactMap, Key, Ledger


@dataclass(frozen=True, slots=True)
class PublishedState:
    """The last publication of a dataset under a name."""

    dataset: str
    name: str
    uri: str

    def __str__(self) -> str:
        return self.dataset if self.name == self.dataset else f"{self.dataset} as {self.name}"


class PublishedStates:
    """What stands on the network of the datasets that somebody looks after; iterated, dataset by dataset.

    Of each name it is what the ledger has as its last promotion, else what its label points at. A label of a
    name that the ledger does not know belongs to the dataset of that name. It counts where this program made it,
    as its key tells, or where the dataset is one that is ``known``: the ledger may have been lost, or another
    machine's. Labels that other programs made are of datasets that nobody here promised anything of.

    Attributes:
        labels: How many of their names the account has labels for.
        passed_over: For how many of these nobody here promised anything.
    """

    def __init__(
        self,
        client: AtmosphereClient,
        ledger: Ledger,
        did: str,
        known: Collection[str],
        taken: Callable[[str], bool],
    ) -> None:
        """Lists the labels: one request for a hundred.

        Args:
            client: Logged in or not.
            ledger: Of the index.
            did: The account.
            known: Names of datasets.
            taken: Whether a dataset that is not known is looked after, by its name.

        Raises:
            ServiceError: The PDS or the ledger does not answer.
        """
        labelled = all_labelled(client, did)
        # Labels of other programs: those of names that nobody here knows.
        self._labelled = {name: each.uri for name, each in labelled.items() if each.ours or name in known}
        self._did, self._ledger = did, ledger
        owners = ledger.get_all("account", did).of(NAME_OWNER)
        owned = {key.parts[0]: owner.dataset for key, owner in owners}
        here = {
            name: dataset
            for name, dataset in {**{name: name for name in labelled}, **owned}.items()
            if dataset in known or taken(dataset)
        }
        self._names: dict[str, list[str]] = {dataset: [] for dataset in known}
        for name, dataset in here.items():
            if name in self._labelled or name in owned:
                self._names.setdefault(dataset, []).append(name)
        self.labels = len(here.keys() & labelled.keys())
        self.passed_over = len(here.keys() & (labelled.keys() - self._labelled.keys() - owned.keys()))

    def __iter__(self) -> Iterator[tuple[str, list[PublishedState]]]:
        """Datasets in order, each with what stands of it, the last promotion first; none of which nothing does.

        The ledger is asked as it goes on, for ``PAGE`` datasets at a time.
        """
        datasets = sorted(self._names)
        for start in range(0, len(datasets), PAGE):
            page = datasets[start : start + PAGE]
            found = self._ledger.get_many([key for each in page for key in self._keys(each)])
            for dataset in page:
                if states := self._states(dataset, found):
                    yield dataset, states

    def _keys(self, dataset: str) -> list[Key[RecordResult]]:
        names = sorted(self._names[dataset])
        return [LAST_RESULT(dataset), *(NAME_RESULT(dataset, self._did, name) for name in names)]

    def _states(self, dataset: str, found: FactMap) -> list[PublishedState]:
        uris: dict[str, str] = {}
        for key in self._keys(dataset):
            result = found[key]
            if result is not None and result.publication.did == self._did:
                uris.setdefault(result.publication.name, result.uri)
        for name in sorted(self._names[dataset]):
            if name not in uris and name in self._labelled:
                uris[name] = self._labelled[name]
        return [PublishedState(dataset, name, uri) for name, uri in uris.items()]
