"""Seed: the records of the demo company, the same for the same seed, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from fenxiang_simulator.catalog import (
    ACCOUNT_LEVELS,
    CATEGORIES,
    INDUSTRIES,
    ORDER_STATUS,
    REPORT_STATUS,
    TAGS,
    UNITS,
    FieldDef,
    ObjectDef,
)
from fenxiang_simulator.directory import ADMIN, COMPANY, DEPARTMENTS, EMPLOYEES

Record = dict[str, Any]

SINCE_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
UNTIL_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
_BEIJING_MS = 8 * 3_600_000
TIED = 0.15
"""This part of an object's records has its stamp from a bulk edit: up to `TIE_SIZE` records share one millisecond."""
TIE_SIZE = 150

DEFAULT_COUNTS = {
    "DepartmentObj": len(DEPARTMENTS),
    "PersonnelObj": len(EMPLOYEES),
    "ProductObj": 150,
    "WarehouseObj": 12,
    "AccountObj": 1200,
    "ContactObj": 600,
    "SalesOrderObj": 800,
    "SalesOrderProductObj": 2000,
    "StockObj": 400,
    "object_warehouse__c": 60,
    "object_inventory_report__c": 500,
    "PaymentObj": 120,
    "OrderPaymentObj": 240,
    "PriceBookObj": 8,
    "PriceBookProductObj": 80,
    "AvailableRangeObj": 8,
    "AvailableAccountObj": 40,
    "AvailableProductObj": 40,
}
NEW_OBJECT_COUNT = 200

_CITIES = (
    ("北京", "北京"), ("上海", "上海"), ("广东", "深圳"), ("广东", "广州"), ("浙江", "杭州"), ("江苏", "苏州"),
    ("江苏", "南京"), ("四川", "成都"), ("湖北", "武汉"), ("陕西", "西安"), ("山东", "青岛"), ("福建", "厦门"),
    ("重庆", "重庆"), ("天津", "天津"),
)  # fmt: skip
_COMPANY_FIRST = (
    "宏达", "瑞丰", "中科", "华信", "天成", "鼎盛", "永安", "恒通", "金源", "博远",
    "新锐", "东方", "海纳", "正泰", "明德", "安捷", "万合", "启航", "联创", "科隆",
)  # fmt: skip
_COMPANY_SECOND = (
    "机电", "贸易", "科技", "医疗", "教育", "建设", "物流", "食品", "电子", "材料",
    "信息", "环保", "化工", "服饰", "能源",
)  # fmt: skip
_COMPANY_LAST = ("有限公司", "股份有限公司", "集团有限公司", "（中国）有限公司")
_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂英华文辉玲健红波琳"
_ROADS = (
    "人民路", "中山路", "解放路", "建设大道", "科技园路", "滨江大道", "长安街", "南京路", "文化路", "工业三路",
)  # fmt: skip
_JOBS = ("采购经理", "总经理", "财务主管", "仓库主管", "技术总监", "销售助理", "行政专员")
_GOODS = (
    "断路器", "接触器", "电缆", "扳手", "螺丝刀", "打印纸", "签字笔", "纸箱", "缠绕膜", "万用表", "压力表", "安全帽",
    "防护手套", "继电器", "传感器",
)  # fmt: skip
_REMARKS = (
    "重要客户，优先发货", "需开具增值税专用发票", "周末可收货", "“含税”价\n含运费", "请先电话确认 ☎", "合同编号见附件",
)  # fmt: skip
_STORES = ("中心仓", "前置仓", "退货仓", "保税仓", "原料仓", "成品仓")
_EMPLOYEE_IDS = tuple(EMPLOYEES)


class Draw:
    """Choices of one object's generator; each costs one call of the generator's `random`."""

    def __init__(self, seed: object) -> None:
        self.random = Random(str(seed))
        self.bits = self.random.getrandbits
        self.unit = self.random.random

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.unit() * len(options))]

    def under(self, limit: int) -> int:
        return int(self.unit() * limit)

    def chance(self, part: float) -> bool:
        return self.unit() < part

    def money(self, most: int) -> str:
        return f"{self.under(most)}.{self.under(100):02d}"

    def day(self) -> int:
        """A day of 2026 as Fenxiang sends it: midnight in Shanghai."""
        return SINCE_MS - _BEIJING_MS + self.under(300) * DAY_MS

    def person(self) -> str:
        return f"{self.pick(_SURNAMES)}{self.pick(_GIVEN)}{self.pick(_GIVEN) if self.chance(0.6) else ''}"

    def mobile(self) -> str:
        return f"139{self.under(100_000_000):08d}"

    def address(self) -> str:
        return f"{self.pick(_ROADS)}{1 + self.under(900)}号"

    def record_id(self, created_ms: int, *, old: bool) -> str:
        """24 hex digits that begin with the time of creation, or the 32 of an older preset record."""
        return f"{self.bits(128):032x}" if old else f"{created_ms // 1000:08x}{self.bits(64):016x}"


Ids = Mapping[str, Sequence[str]]
Own = Callable[[Draw, int, Ids], Record]


def records(seed: int, definition: ObjectDef, count: int, ids: Ids) -> Iterator[Record]:
    """`count` records of one object, their null fields left out; `ids` has those of the objects before it."""
    draw = Draw(f"{seed}:{definition.name}")
    own = _OWN.get(definition.name, _generic(definition))
    tied = 0
    tie = 0
    for index in range(count):
        if draw.chance(TIED):
            if tied % TIE_SIZE == 0:
                tie = SINCE_MS + draw.under(UNTIL_MS - SINCE_MS)
            tied += 1
            modified = tie
        else:
            modified = SINCE_MS + draw.under(UNTIL_MS - SINCE_MS)
        yield _record(draw, definition, index, modified, own(draw, index, ids))


def _record(draw: Draw, definition: ObjectDef, index: int, modified: int, own: Record) -> Record:
    created = modified - (draw.under(400 * DAY_MS) if draw.chance(0.7) else 0)
    owner = own.pop("owner", None)
    unowned = owner == ""
    owner = owner or draw.pick(_EMPLOYEE_IDS)
    author = draw.pick(_EMPLOYEE_IDS)
    record_id = draw.record_id(created, old=not definition.custom and draw.chance(0.3))
    number = {"name": definition.number_format.format(index + 1)} if definition.number_format else {}
    record: Record = {
        "_id": record_id,
        **number,
        **own,
        "object_describe_api_name": definition.name,
        "record_type": "default__c",
        "version": str(1 + draw.under(9)) if created < modified else "1",
        "is_deleted": False,
        "life_status": draw.pick(("in_change", "under_review", "ineffective")) if draw.chance(0.04) else "normal",
        "lock_status": "0",
        "create_time": created,
        "last_modified_time": modified,
        "created_by": _OWNED[author]["owner"],
        "last_modified_by": _OWNED[owner]["owner"],
        "extend_obj_data_id": record_id,
    }
    if not unowned:
        set_owner(record, owner)
    if draw.chance(0.02):
        record["life_status_before_invalid"] = record["life_status"]
        record["life_status"] = "invalid"
    return record


def set_owner(record: Record, owner: str) -> None:
    """Make the employee the owner, with the department and team fields that follow from it."""
    record.update(_OWNED[owner])


def _owned(owner: str) -> Record:
    department = DEPARTMENTS[EMPLOYEES[owner].department]
    member = {
        "teamMemberEmployee": [owner],
        "teamMemberType": "0",
        "teamMemberRole": "1",
        "teamMemberPermissionType": "2",
        "teamMemberDeptCascade": "0",
    }
    return {
        "owner": [owner],
        "owner_department": department.name,
        "owner_department_id": department.id,
        "data_own_department": [department.id],
        "relevant_team": [member],
    }


_OWNED = {owner: _owned(owner) for owner in EMPLOYEES}
"""Shared by every record of an owner: stored records are never changed in place."""


def _department(_draw: Draw, index: int, _ids: Ids) -> Record:
    departments = list(DEPARTMENTS.values())
    if index >= len(departments):
        return {"name": f"项目组{index}", "dept_id": str(1000 + index), "parent_id": [COMPANY], "status": "0"}
    each = departments[index]
    parent = {} if each.id == COMPANY else {"parent_id": [COMPANY]}
    return {
        "name": each.name, "dept_code": f"D{index:03d}", "dept_id": each.id, **parent, "manager_id": [each.leader],
        "status": "0", "owner": ADMIN,
    }  # fmt: skip


def _personnel(draw: Draw, index: int, _ids: Ids) -> Record:
    employees = list(EMPLOYEES.values())
    if index >= len(employees):
        return {"name": draw.person(), "user_id": str(1000 + index), "phone": draw.mobile(), "status": "1"}
    each = employees[index]
    return {
        "name": each.name, "user_id": each.id, "nickname": each.name, "phone": each.mobile, "email": each.email,
        "main_department": [each.department], "status": "0", "date_of_joining": draw.day(), "owner": ADMIN,
    }  # fmt: skip


def _product(draw: Draw, index: int, _ids: Ids) -> Record:
    record = {
        "name": f"{draw.pick(_GOODS)} {draw.pick('ABCDEFG')}{100 + index}",
        "product_code": f"P{index + 1:06d}",
        "category": draw.pick(tuple(CATEGORIES)),
        "unit": draw.pick(tuple(UNITS)),
        "price": draw.money(5000),
        "product_status": "2" if draw.chance(0.1) else "1",
        "is_saleable": draw.chance(0.9),
        "description__c": f"<p>第{index + 1}号产品的介绍</p>",
    }
    if index % 3:
        file = {
            "path": f"N_202609_{index:06d}",
            "filename": f"P{index + 1:06d}.png",
            "ext": "png",
            "size": 2048 + index,
        }
        record["image__c"] = [file]
    if draw.chance(0.7):
        record["barcode"] = f"69{draw.under(10**11):011d}"
    if draw.chance(0.5):
        record["product_spec"] = f"{draw.under(90) + 10}×{draw.under(90) + 10}mm"
    return record


def _warehouse(draw: Draw, index: int, _ids: Ids) -> Record:
    city = _CITIES[index % len(_CITIES)][1]
    return {
        "name": f"{city}{_STORES[index % len(_STORES)]}", "number": f"CK{index + 1:03d}", "is_default": index == 0,
        "is_enable": "1", "city": city, "address": draw.address(), "contact_phone__c": draw.mobile(),
    }  # fmt: skip


def _account(draw: Draw, index: int, _ids: Ids) -> Record:
    province, city = draw.pick(_CITIES)
    record: Record = {
        "name": f"{city}{draw.pick(_COMPANY_FIRST)}{draw.pick(_COMPANY_SECOND)}{draw.pick(_COMPANY_LAST)}",
        "account_no": f"C{index + 1:08d}",
        "account_level": draw.pick(tuple(ACCOUNT_LEVELS)),
        "industry_level1": draw.pick(tuple(INDUSTRIES)),
        "deal_status": draw.pick(("1", "2", "3")),
        "province": province,
        "city": city,
        "field_vip__c": draw.chance(0.1),
        "owner": "" if draw.chance(0.05) else None,
    }
    if draw.chance(0.8):
        record["tel"] = draw.mobile()
        record["address"] = draw.address()
        record["location"] = f"{73 + draw.under(60)}.{draw.under(10**6):06d}#%$39.9#%${city}{record['address']}"
    if draw.chance(0.5):
        record["email"] = f"info{index}@demo.example.com"
        record["field_registered_on__c"] = draw.day()
    if draw.chance(0.6):
        limit, used = draw.under(900_000), draw.under(100_000)
        record["field_credit_limit__c"] = f"{limit}.00"
        record["field_credit_used__c"] = f"{used}.50"
    if draw.chance(0.4):
        record["field_tags__c"] = sorted({draw.pick(tuple(TAGS)), draw.pick(tuple(TAGS))})
    if draw.chance(0.3):
        record["remark"] = draw.pick(_REMARKS)
        record["last_deal_closed_time"] = SINCE_MS + draw.under(UNTIL_MS - SINCE_MS)
    return record


def _contact(draw: Draw, index: int, ids: Ids) -> Record:
    record: Record = {"name": draw.person(), "mobile1": draw.mobile(), "gender": draw.pick("12")}
    if ids["AccountObj"]:
        record["account_id"] = draw.pick(ids["AccountObj"])
    if draw.chance(0.7):
        record["job_title"] = draw.pick(_JOBS)
    if draw.chance(0.3):
        record["email"] = f"contact{index}@demo.example.com"
        record["date_of_birth"] = draw.day() - (25 + draw.under(30)) * 365 * DAY_MS
    return record


def _order(draw: Draw, _index: int, ids: Ids) -> Record:
    record: Record = {
        "order_time": draw.day(),
        "order_amount": draw.money(200_000),
        "discount": "100.00" if draw.chance(0.7) else f"{80 + draw.under(20)}.00",
        "status": draw.pick(tuple(ORDER_STATUS)),
        "ship_to_add": f"{draw.pick(_CITIES)[1]}{draw.address()}",
    }
    if ids["AccountObj"]:
        record["account_id"] = draw.pick(ids["AccountObj"])
    if draw.chance(0.6):
        record["delivery_date"] = record["order_time"] + (1 + draw.under(30)) * DAY_MS
    if draw.chance(0.3):
        record["remark"] = draw.pick(_REMARKS)
    if record["status"] != "1":
        record["confirmed_time"] = record["order_time"] + draw.under(DAY_MS)
    return record


def _line(draw: Draw, _index: int, ids: Ids) -> Record:
    quantity, cents = 1 + draw.under(200), 100 + draw.under(500_000)
    record: Record = {
        "quantity": f"{quantity}.00",
        "sales_price": f"{cents // 100}.{cents % 100:02d}",
        "discount": "100.00",
        "subtotal": f"{quantity * cents // 100}.{quantity * cents % 100:02d}",
    }
    if ids["SalesOrderObj"]:
        record["order_id"] = draw.pick(ids["SalesOrderObj"])
    if ids["ProductObj"]:
        record["product_id"] = draw.pick(ids["ProductObj"])
    return record


def _stock(draw: Draw, _index: int, ids: Ids) -> Record:
    real = draw.under(5000)
    blocked = draw.under(real // 10 + 1)
    record: Record = {
        "real_stock": f"{real}.00", "blocked_stock": f"{blocked}.00", "available_stock": f"{real - blocked}.00",
    }  # fmt: skip
    if ids["WarehouseObj"] and ids["ProductObj"]:
        record["warehouse_id"] = draw.pick(ids["WarehouseObj"])
        record["product_id"] = draw.pick(ids["ProductObj"])
    if draw.chance(0.5):
        record["safety_stock"] = f"{draw.under(200)}.00"
    return record


def _warehouse_file(draw: Draw, index: int, _ids: Ids) -> Record:
    if index == 0:
        return {
            "warehouseId": "WH123", "warehouseName": "Main Warehouse", "location": "Beijing",
            "capacity": "10000", "currentStock": "5000",
        }  # fmt: skip
    city = draw.pick(_CITIES)[1]
    capacity = 1000 * (1 + draw.under(50))
    record: Record = {"warehouseName": f"{city}{draw.pick(_STORES)}", "capacity": str(capacity)}
    if index % 20 != 7:
        record["warehouseId"] = f"WH{index + 123:03d}"
    if draw.chance(0.9):
        record["location"] = city
    if draw.chance(0.9):
        record["currentStock"] = str(draw.under(capacity))
    return record


def _report(draw: Draw, index: int, ids: Ids) -> Record:
    day = draw.day()
    date = datetime.fromtimestamp((day + _BEIJING_MS) / 1000, UTC)
    record: Record = {
        "name": f"库存报表-{date:%Y%m%d}-{index + 1:04d}",
        "report_date__c": day,
        "quantity__c": f"{draw.under(3000)}.00",
        "status__c": draw.pick(tuple(REPORT_STATUS)),
    }
    if ids["object_warehouse__c"] and ids["ProductObj"]:
        record["warehouse__c"] = draw.pick(ids["object_warehouse__c"])
        record["product__c"] = draw.pick(ids["ProductObj"])
    if draw.chance(0.8):
        record["amount__c"] = draw.money(90_000)
    if record["status__c"] == "checked":
        record["checked_by__c"] = [str(1016 + draw.under(3))]
    return record


def _range(draw: Draw) -> str:
    """Whom or what a list is for: a JSON text of a type and a value. Integrations report FIXED (those that are listed)
    and ALL; a third, CONDITION, is left out here."""
    kind = "ALL" if draw.chance(0.3) else "FIXED"
    return f'{{"type":"{kind}","value":"{kind}"}}'


def _price_book(draw: Draw, index: int, _ids: Ids) -> Record:
    start = draw.day()
    return {
        "name": "标准价目表" if index == 0 else f"{draw.pick(_CITIES)[1]}价目表 {index}",
        "price_book_no": f"PB{index + 1:04d}", "active_status": "1", "is_standard": index == 0,
        "start_date": start, "end_date": start + 365 * DAY_MS, "account_range": _range(draw),
    }  # fmt: skip


def _available_range(draw: Draw, index: int, _ids: Ids) -> Record:
    return {
        "name": f"可售范围 {index + 1}", "active_status": "1", "account_range": _range(draw),
        "product_range": _range(draw),
    }  # fmt: skip


_OWN: dict[str, Own] = {
    "DepartmentObj": _department,
    "PersonnelObj": _personnel,
    "ProductObj": _product,
    "WarehouseObj": _warehouse,
    "AccountObj": _account,
    "ContactObj": _contact,
    "SalesOrderObj": _order,
    "SalesOrderProductObj": _line,
    "StockObj": _stock,
    "object_warehouse__c": _warehouse_file,
    "object_inventory_report__c": _report,
    "PriceBookObj": _price_book,
    "AvailableRangeObj": _available_range,
}


def _generic(definition: ObjectDef) -> Own:
    """A generator for an object that users bring: a value of the right type for most fields of most records."""
    own = [each for each in definition.fields.values() if each.define_type != "system" and each.name not in _FOLLOWING]

    def generate(draw: Draw, index: int, ids: Ids) -> Record:
        record: Record = {} if definition.number_format else {"name": f"{definition.label} {index + 1}"}
        for each in own:
            if each.required or draw.chance(0.8):
                value = sample(each, draw, ids)
                if value is not None:
                    record[each.name] = value
        return record

    return generate


_FOLLOWING = frozenset(
    {
        *("life_status", "life_status_before_invalid", "lock_status", "owner", "owner_department"),
        *("owner_department_id", "data_own_department", "relevant_team"),
    }
)


def sample(each: FieldDef, draw: Draw, ids: Ids) -> Any:
    """A plausible stored value for a field, None where its type has none."""
    if each.type in ("select_one", "record_type"):
        return draw.pick(tuple(each.options)) if each.options else None
    if each.type in ("select_many", "tag", "array"):
        return sorted({draw.pick(tuple(each.options)) for _ in range(2)}) if each.options else None
    if each.type in ("object_reference", "master_detail", "object_reference_many"):
        there = ids.get(each.target or "")
        if not there:
            return None
        return [draw.pick(there)] if each.type.endswith("many") else draw.pick(there)
    if each.type in ("number", "currency", "percentile"):
        return f"{draw.under(10_000)}.{draw.under(100):02d}" if each.decimal_places else str(draw.under(10_000))
    if each.type in ("text", "long_text", "html_rich_text", "auto_number", "url"):
        return f"{each.label}{draw.under(100_000)}"
    return _SAMPLES[each.type](draw) if each.type in _SAMPLES else None


_SAMPLES: dict[str, Callable[[Draw], Any]] = {
    "date": Draw.day,
    "date_time": lambda draw: SINCE_MS + draw.under(UNTIL_MS - SINCE_MS),
    "time": lambda draw: draw.under(1440) * 60_000,
    "true_or_false": lambda draw: draw.chance(0.5),
    "employee": lambda draw: [draw.pick(_EMPLOYEE_IDS)],
    "employee_many": lambda draw: [draw.pick(_EMPLOYEE_IDS)],
    "department": lambda draw: [draw.pick(tuple(DEPARTMENTS))],
    "department_many": lambda draw: [draw.pick(tuple(DEPARTMENTS))],
    "phone_number": Draw.mobile,
    "email": lambda draw: f"mail{draw.under(10_000)}@demo.example.com",
}
