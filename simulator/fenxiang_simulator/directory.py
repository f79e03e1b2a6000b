"""Directory: the employees and departments of the demo company, and how their ids are written."""

from __future__ import annotations

from dataclasses import dataclass

CORP_ID = "FSCID_demo"
EA = "demoea"
ADMIN = "1000"
COMPANY = "999999"


@dataclass(frozen=True, slots=True)
class Department:
    id: str
    name: str
    leader: str


@dataclass(frozen=True, slots=True)
class Employee:
    """`id` is the employee id (员工ID); `open_id` the same person in the body style (FSUID_…)."""

    id: str
    name: str
    department: str
    mobile: str

    @property
    def open_id(self) -> str:
        return open_id(self.id)

    @property
    def email(self) -> str:
        return f"user{self.id}@demo.example.com"


def open_id(employee_id: str) -> str:
    """
    >>> open_id("1000")
    'FSUID_demo0000000000000000000000001'
    """
    return f"FSUID_demo{int(employee_id) - 999:025d}"


DEPARTMENTS = {
    each.id: each
    for each in (
        Department(COMPANY, "全公司", ADMIN),
        Department("1001", "总经办", "1000"),
        Department("1002", "华东销售部", "1001"),
        Department("1003", "华南销售部", "1006"),
        Department("1004", "华北销售部", "1011"),
        Department("1005", "采购与仓储部", "1016"),
        Department("1006", "财务部", "1019"),
        Department("1007", "信息部", "1021"),
    )
}

_NAMES = (
    "系统管理员", "王伟", "李娜", "张敏", "刘洋", "陈静", "杨磊", "赵强", "黄丽", "周杰", "吴刚", "徐慧",
    "孙鹏", "马超", "朱琳", "胡军", "郭涛", "何梅", "高飞", "林芳", "罗斌", "郑爽", "梁宇", "谢婷",
)  # fmt: skip


def _department(index: int) -> str:
    for last, department in ((0, "1001"), (5, "1002"), (10, "1003"), (15, "1004"), (18, "1005"), (20, "1006")):
        if index <= last:
            return department
    return "1007"


EMPLOYEES = {
    each.id: each
    for each in (Employee(str(1000 + i), name, _department(i), str(13800000000 + i)) for i, name in enumerate(_NAMES))
}
_BY_OPEN_ID = {each.open_id: each.id for each in EMPLOYEES.values()}


def employee_id(any_id: str) -> str | None:
    """The employee id of an employee id or FSUID; None where nobody has it."""
    if any_id in EMPLOYEES:
        return any_id
    return _BY_OPEN_ID.get(any_id)


def by_mobile(mobile: str) -> Employee | None:
    return next((each for each in EMPLOYEES.values() if each.mobile == mobile), None)
